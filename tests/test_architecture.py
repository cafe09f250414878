"""Imports point one way, what must start fast imports little, and every module is fit to read."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import petsage_grpc
from petsage_grpc.checks import KINDS

PACKAGE = Path(petsage_grpc.__file__).parent
LONGEST_MODULE = 350

BELOW: dict[str, set[str]] = {
    "core": set(),
    "errors": set(),
    "installed": {"core", "errors"},
    "checks": {"core", "errors", "installed"},
    "settings": {"core", "errors", "installed", "checks"},
    "_gen": set(),
    "rpc": {"core", "errors", "checks", "settings", "_gen"},
    "plane": {"core", "errors", "installed", "checks", "settings", "rpc"},
    "cli": {"core", "errors", "checks", "settings", "rpc", "plane"},
    "__main__": {"cli"},
    "__init__": {"core", "errors", "checks", "settings", "rpc", "plane"},
}
"""The rooms that each room may import; the package itself is the facade, which none imports."""

STANDARD_LIBRARY_ALONE = ("core", "errors")
GRPC_CHECK = KINDS.get("grpc", "petsage_grpc.checks.grpc:").partition(":")[0]
"""The one kind of check that asks by grpc."""
SHOWS_MESSAGES = "petsage_grpc.cli.smoke"
"""The one verb that reads messages, though it asks without grpc."""


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
WRITTEN = [name for name in SOURCES if not name.startswith("petsage_grpc._gen")]
"""The modules that are not generated."""


def room_of(name: str) -> str:
    room = name.split(".")[1] if "." in name else "__init__"
    room = "settings" if room.startswith("settings_") else room
    return room if room in BELOW else "__init__"


def imported(module: str, source: str, *, is_package: bool = False) -> Iterator[str]:
    """All that a module imports, also inside of functions and for types alone."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            start = [*above, *([node.module] if node.module else [])]
            yield from (".".join([*start, alias.name]) for alias in node.names)


def may_import(module: str, name: str) -> bool:
    ours, theirs, top = room_of(module), room_of(name), name.partition(".")[0]
    if top in sys.stdlib_module_names:
        return True
    if top.startswith("grpc") or name.startswith("google.protobuf"):
        may = ours in ("rpc", "_gen") or module == GRPC_CHECK
        return may or (module == SHOWS_MESSAGES and top == "google")
    if top != "petsage_grpc":
        return ours not in STANDARD_LIBRARY_ALONE
    if name == "petsage_grpc.__version__":
        return ours not in STANDARD_LIBRARY_ALONE
    if theirs == "_gen" and module == SHOWS_MESSAGES:
        return any(part.endswith("_pb2") for part in name.split("."))
    return theirs == ours or theirs in BELOW[ours]


def forbidden(module: str, source: str, *, is_package: bool = False) -> list[str]:
    names = imported(module, source, is_package=is_package)
    return [name for name in names if not may_import(module, name)]


@pytest.mark.parametrize("module", SOURCES)
def test_no_module_imports_what_is_above_it(module: str) -> None:
    path = SOURCES[module]
    assert forbidden(module, path.read_text(), is_package=path.stem == "__init__") == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("core.fold", "import petsage_grpc.checks"),
        ("core.fold", "from petsage_grpc import checks"),
        ("core.fold", "from petsage_grpc import __version__"),
        ("core.fold", "from .. import errors"),
        ("core.fold", "from ..settings import Settings"),
        ("core.fold", "import h2"),
        ("core.fold", "import grpc.aio"),
        ("errors", "from petsage_grpc.core.status import Status"),
        ("checks.disk", "from petsage_grpc.settings import Settings"),
        ("checks.disk", "import grpc"),
        ("installed", "from petsage_grpc.checks import KINDS"),
        ("settings_references", "from petsage_grpc.plane.service import Service"),
        ("settings", "def late():\n    from petsage_grpc.rpc import convert"),
        ("settings_load", "if TYPE_CHECKING:\n    from petsage_grpc.plane.service import Service"),
        ("settings", "from google.protobuf.message import Message"),
        ("settings", "from google import protobuf"),
        ("rpc.server", "from petsage_grpc.plane.service import Service"),
        ("rpc.client.connection", "from ...plane import logs"),
        ("plane.service", "from petsage_grpc.cli.serve import main"),
        ("plane.service", "import grpc_health.v1"),
        ("plane.service", "from petsage_grpc._gen.petsage.v1 import smoke_test_pb2"),
        ("plane.service", "from petsage_grpc import HealthPlane"),
        ("cli.probe", "from petsage_grpc._gen.petsage.v1 import smoke_test_pb2"),
        ("cli.smoke", "from petsage_grpc._gen.petsage.v1 import smoke_test_pb2_grpc"),
        ("cli.smoke", "import grpc"),
        ("cli.wait", "from google.protobuf import json_format"),
        ("_gen.petsage.v1.smoke_test_pb2", "import petsage_grpc.core"),
    ],
)
def test_an_import_that_points_up_is_found_wherever_it_hides(module: str, source: str) -> None:
    assert forbidden(f"petsage_grpc.{module}", source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("core.fold", "import asyncio\nfrom petsage_grpc.core.status import Status"),
        ("core.fold", "from . import status\nfrom .status import Status"),
        ("checks.disk", "from petsage_grpc.core.check import Check\nimport redis"),
        ("checks.disk", "from petsage_grpc.errors import PetsageError"),
        ("settings", "from petsage_grpc import __version__"),
        ("settings_load", "from petsage_grpc.settings import Settings"),
        ("settings", "from petsage_grpc.settings_references import at"),
        ("checks", "from petsage_grpc.installed import installed"),
        ("rpc.server", "import grpc.aio\nfrom petsage_grpc.settings import parse_listen"),
        ("rpc.convert", "from petsage_grpc._gen.petsage.v1 import smoke_test_pb2"),
        ("cli.serve", "def late():\n    from petsage_grpc.plane.service import Service"),
        ("cli.smoke", "from petsage_grpc._gen.petsage.v1.smoke_test_pb2 import SmokeTestRequest"),
    ],
)
def test_an_import_that_points_down_is_no_mistake(module: str, source: str) -> None:
    assert forbidden(f"petsage_grpc.{module}", source) == []


def modules_after(statement: str) -> set[str]:
    code = f"{statement}; import sys; print(*sys.modules, sep='\\n')"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(ran.stdout.splitlines())


@pytest.mark.parametrize(
    "module",
    ["petsage_grpc", "petsage_grpc.cli", "petsage_grpc.cli.probe", "petsage_grpc.rpc.client"],
)
def test_what_must_start_fast_imports_neither_grpc_nor_protobuf_nor_asyncio(module: str) -> None:
    assert {"grpc", "google.protobuf", "asyncio"} & modules_after(f"import {module}") == set()


def test_the_package_itself_imports_nothing_of_what_it_offers() -> None:
    ours = {name for name in modules_after("import petsage_grpc") if name.startswith("petsage")}
    assert ours == {"petsage_grpc"}


@pytest.mark.parametrize("name", ["Check", "CheckFailedError", "Duration", "Size"])
def test_what_a_kind_of_check_needs_is_had_without_grpc(name: str) -> None:
    assert "grpc" not in modules_after(f"from petsage_grpc import {name}")


@pytest.mark.parametrize("verb", ["checks", "smoke", "wait"])
def test_a_verb_that_serves_nothing_does_not_import_grpc(verb: str) -> None:
    assert "grpc" not in modules_after(f"import petsage_grpc.cli.{verb}")


@pytest.mark.parametrize("module", WRITTEN)
def test_a_module_opens_with_a_sentence_that_says_why_it_exists(module: str) -> None:
    docstring = ast.get_docstring(ast.parse(SOURCES[module].read_text()))
    assert docstring
    assert docstring.partition("\n")[0].endswith((".", "!", "?"))


@pytest.mark.parametrize("module", WRITTEN)
def test_a_module_says_which_names_are_for_others(module: str) -> None:
    if module == "petsage_grpc.__main__" or not names_anything(SOURCES[module]):
        return
    loaded: Any = importlib.import_module(module)
    assert hasattr(loaded, "__all__")
    assert [name for name in loaded.__all__ if not hasattr(loaded, name)] == []
    assert len(set(loaded.__all__)) == len(loaded.__all__)


def names_anything(path: Path) -> bool:
    return len(ast.parse(path.read_text()).body) > 1 or path.stem != "__init__"


@pytest.mark.parametrize("module", WRITTEN)
def test_a_module_can_be_read_in_one_sitting(module: str) -> None:
    assert len(SOURCES[module].read_text().splitlines()) <= LONGEST_MODULE

"""The targets of settings that are nearly right: known names, and values from anywhere."""

import contextlib
import dataclasses
import io
import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import grpc
from hypothesis import strategies as st

from petsage_grpc.checks import KINDS, load_kind
from petsage_grpc.cli import checks, probe, serve, smoke
from petsage_grpc.cli._goflags import UsageError
from petsage_grpc.core.policy import Policy
from petsage_grpc.errors import SettingsError
from petsage_grpc.rpc.limits import server_options
from petsage_grpc.settings import Settings
from petsage_grpc.settings_load import TABLES, load_settings
from tests.fuzz.oracle import one_line, refused

__all__ = [
    "command_lines", "flags", "load_numbers", "load_table", "load_variables", "numbers", "tables",
    "variables",
]  # fmt: skip

_NAMES: Final = [field.name for field in dataclasses.fields(Settings)]
_OF_CHECKS: Final = sorted(
    {field.name for field in dataclasses.fields(Policy)}
    | {field.name for kind in KINDS for field in dataclasses.fields(load_kind(kind))}  # type: ignore[arg-type]
)
_WORDS: Final = [
    "", "1", "0", "-1", "10s", "500ms", "64MiB", "1e400", "9" * 5000, "true", "127.0.0.1:0",
    "[::1]:0", "0.0.0.0:1", "unix:/x", ":1", "disk", "log", "readiness", "liveness", "authorized",
    "INFO", "${X}", "${file:/dev/null}", "redis://a:b@c:1/0", "http://[", "sqlite://",
    "postgresql+asyncpg://u:p@h/d", "a:b", "a,b", "\x00", "\ud7ff", "ä",
]  # fmt: skip

_texts = st.sampled_from(_WORDS) | st.text(max_size=30)
_numbers = st.one_of(
    st.integers(-3, 70_000),
    st.sampled_from([2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64, -(2**63)]),
    st.floats(),
)
_scalars = st.one_of(_texts, _numbers, st.booleans())
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=6,
)
_check = st.fixed_dictionaries(
    {"kind": st.sampled_from([*KINDS, "dsk", ""])},
    optional=dict.fromkeys(_OF_CHECKS, _values),
)
_few_names = st.dictionaries(st.sampled_from(_NAMES) | _texts, _values, max_size=4)
_checks = st.dictionaries(st.sampled_from(["a", "b.c", "ä"]) | _texts, _check, max_size=2)

tables = st.tuples(_few_names, st.none() | _checks)
"""What a settings file says, and its checks."""
variables = st.dictionaries(
    st.sampled_from([name.upper() for name in _NAMES] + ["LISTN", "PORT", ""]).map(
        "PETSAGE_{}".format
    )
    | st.text(alphabet="AEGPST_", max_size=9),
    (_texts | _numbers.map(str)).filter(lambda text: "\0" not in text),
    max_size=4,
)
"""An environment."""
numbers = st.dictionaries(
    st.sampled_from(
        [field.name for field in dataclasses.fields(Settings) if field.name not in TABLES]
    ),
    _numbers,
    max_size=3,
)
"""Settings that are numbers, however large."""
_FLAGS: Final = [f"-{name}" for name in probe._FLAGS] + [
    "--config", "--listen", "-c", "-l", "--json", "--strict", "--timeout", "--", "-", "---",
    "-addr=:1", "-rpc-header=a:b",
]  # fmt: skip
command_lines = st.lists(
    st.sampled_from(_FLAGS) | _texts | st.tuples(st.sampled_from(_FLAGS), _texts).map("=".join),
    max_size=5,
)
"""Arguments of a verb."""


def load_table(given: tuple[dict[str, Any], dict[str, Any] | None]) -> None:
    """Load a settings file that says this."""
    table, checks = given
    if checks is not None:
        table = table | {"checks": checks}
    with TemporaryDirectory() as folder:
        path = Path(folder, "petsage.toml")
        path.write_text(toml(table), encoding="utf-8", errors="replace")
        refused(lambda: load_settings(path, environ={}))


def load_variables(environ: dict[str, str]) -> None:
    """Load the settings that an environment has."""
    refused(lambda: load_settings(None, environ=environ))


def load_numbers(given: dict[str, Any]) -> None:
    """Load numbers; grpc takes what is not refused as the options of a server."""
    try:
        settings = load_settings(None, environ={}, **given)
    except SettingsError as error:
        one_line(str(error))
        return
    for size in (settings.max_message_size, settings.features_max_message_size):
        with ThreadPoolExecutor(1) as pool:
            grpc.server(pool, options=server_options(settings, size))


def flags(arguments: list[str]) -> None:
    """Read the arguments of each verb, as far as that starts and asks nothing."""
    refused(lambda: probe._check_options(probe._read_options(arguments)), UsageError)
    for read in (serve._parser().parse_args, smoke._parser().parse_args, checks.main):
        said = io.StringIO()
        with (
            contextlib.redirect_stderr(said),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.suppress(SystemExit),
        ):
            read(arguments)
        if said.getvalue():
            one_line(said.getvalue().removesuffix("\n"))


def toml(table: dict[str, Any]) -> str:
    """Write a table as TOML."""
    return "".join(f"{_write(key)} = {_write(value)}\n" for key, value in table.items())


def _write(value: Any) -> str:
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{_write(key)} = {_write(item)}" for key, item in value.items()) + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(_write, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

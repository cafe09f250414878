"""Packages of somebody else, laid down as an installer does it, for the time of a test."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from petsage_grpc import installed

KIND: Final = """
from dataclasses import dataclass, field
from petsage_grpc import Check, CheckFailedError

@dataclass(kw_only=True)
class Kind(Check):
    \"\"\"Fails when it is told so.\"\"\"

    outside = False
    failing: bool = field(default=False, metadata={"help": "whether it fails"})

    async def run(self) -> None:
        if self.failing:
            raise CheckFailedError("told so")
"""
"""A module with a kind of check."""


def write_package(
    folder: Path,
    name: str,
    modules: Mapping[str, str],
    *,
    checks: Mapping[str, str] | None = None,
    features: Mapping[str, str] | None = None,
    version: str = "1",
) -> Path:
    """Install a distribution with these modules, kinds and features; return its metadata."""
    for module, code in modules.items():
        path = folder.joinpath(*module.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n")
    groups = {"petsage_grpc.checks": checks or {}, "petsage_grpc.features": features or {}}
    (metadata / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in entries.items()) + "\n"
            for group, entries in groups.items()
        )
    )
    installed._find.cache_clear()
    return metadata


@contextmanager
def importable(folder: Path) -> Iterator[Path]:
    """Let what is in the folder be imported inside of the block; nothing of it stays behind."""
    folder.mkdir(exist_ok=True)
    sys.path.insert(0, str(folder))
    try:
        yield folder
    finally:
        sys.path.remove(str(folder))
        installed._find.cache_clear()
        for name, module in list(sys.modules.items()):
            places = [getattr(module, "__file__", None) or "", *getattr(module, "__path__", ())]
            if any(str(place).startswith(f"{folder}/") for place in places):
                del sys.modules[name]
        sys.path_importer_cache.pop(str(folder), None)

"""Finds by their entry points what installed packages bring to us.

It does so without importlib.metadata, whose import takes fifty times as long as all of this, and
looks closely only at packages that name a group of ours.
"""

import functools
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from petsage_grpc.core.text import printable, redact
from petsage_grpc.errors import PackageError

__all__ = ["CHECKS", "FEATURES", "EntryPoint", "describe_error", "installed"]

CHECKS: Final = "petsage_grpc.checks"
"""The group of kinds of checks."""

FEATURES: Final = "petsage_grpc.features"
"""The group of features."""

_LONGEST_ERROR: Final = 500


class EntryPoint(NamedTuple):
    """Something of a package that goes by a name."""

    name: str
    module: str
    attribute: str
    """What is meant in the module; empty for the module itself."""
    package: str
    """Who brings it."""

    def load(self, what: str, default: str = "") -> Any:  # noqa: ANN401 -- whatever it is
        """Import it.

        Args:
            what: what it is, for the error.
            default: what is meant in the module when the entry point does not say.

        Raises PackageError with one line that names it and what went wrong.
        """
        mend = f"mend or remove {self.package}"
        try:
            found: Any = importlib.import_module(self.module)
        except BaseException as error:  # somebody else's code may raise anything
            raise PackageError(
                f"{what} ({self.package}): {self.module} can not be imported:"
                f" {describe_error(error)}; {mend}"
            ) from error
        attribute = self.attribute or default
        try:
            for part in attribute.split(".") if attribute else ():
                found = getattr(found, part)
        except AttributeError:
            raise PackageError(
                f"{what} ({self.package}): {self.module} has no {attribute}; {mend}"
            ) from None
        return found


def installed(group: str) -> tuple[EntryPoint, ...]:
    """Name what all packages that can be imported bring to a group, sorted by name."""
    return _find(tuple(map(str, sys.path))).get(group, ())


def describe_error(error: BaseException) -> str:
    """Say in one line, fit to be shown, what an error of somebody else's code is."""
    name = type(error).__name__
    try:
        said = str(error).strip().partition("\n")[0][:_LONGEST_ERROR]
    except Exception:  # noqa: BLE001 -- somebody else's error
        said = "it can not be shown"
    return printable(redact(f"{name}: {said}" if said else name, {}))


@functools.lru_cache(maxsize=1)
def _find(folders: tuple[str, ...]) -> dict[str, tuple[EntryPoint, ...]]:
    found: dict[str, list[EntryPoint]] = {CHECKS: [], FEATURES: []}
    for metadata, text in _candidates(folders):
        package, group = _name_of(metadata), ""
        for line in map(str.strip, text.splitlines()):
            if line.startswith("[") and line.endswith("]"):
                group = line[1:-1]
            elif group in found and line[:1] not in ("", "#"):
                name, _, value = (part.strip() for part in line.partition("="))
                module, _, attribute = value.partition("[")[0].strip().partition(":")
                found[group].append(
                    EntryPoint(printable(name), module.strip(), attribute.strip(), package)
                )
    return {
        group: tuple(sorted(entries, key=lambda entry: (entry.name, entry.package)))
        for group, entries in found.items()
    }


def _candidates(folders: tuple[str, ...]) -> Iterator[tuple[Path, str]]:
    """Read the entry points of packages that may bring something; of a name the first counts."""
    seen = set()
    for folder in folders:
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208 -- as below
        except OSError:
            continue
        for name in names:
            stem, _, suffix = name.rpartition(".")
            if suffix not in ("dist-info", "egg-info") or name.startswith("~"):
                continue  # pip renames to ~ what it could not remove
            key = stem.partition("-")[0].replace("_", "-").replace(".", "-").lower()
            if key in seen:
                continue
            seen.add(key)
            metadata = f"{folder or '.'}/{name}"
            try:
                # Without a buffer, and without pathlib: there may be hundreds.
                with open(f"{metadata}/entry_points.txt", "rb", buffering=0) as file:  # noqa: PTH123
                    text = file.readall()
            except OSError:
                continue
            if b"[petsage_grpc." in text:
                yield Path(metadata), text.decode(errors="replace")


def _name_of(metadata: Path) -> str:
    """Say what a package calls itself."""
    for name in ("METADATA", "PKG-INFO"):
        try:
            lines = (metadata / name).read_text(errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith("Name:"):
                return printable(line.removeprefix("Name:").strip())
    return metadata.name.partition("-")[0]

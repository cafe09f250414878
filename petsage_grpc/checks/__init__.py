"""How we know: a module for each kind of check, imported only when a check of it is used."""

import dataclasses
import importlib
from typing import Final

from petsage_grpc.core.check import Check
from petsage_grpc.errors import PackageError
from petsage_grpc.installed import CHECKS, EntryPoint, installed

__all__ = ["KINDS", "UnknownKindError", "brought_kinds", "kind_names", "kind_of", "load_kind"]

KINDS: Final[dict[str, str]] = {
    "tcp": "petsage_grpc.checks.tcp:TcpCheck",
    "http": "petsage_grpc.checks.http:HttpCheck",
    "grpc": "petsage_grpc.checks.grpc:GrpcCheck",
    "database": "petsage_grpc.checks.database:DatabaseCheck",
    "redis": "petsage_grpc.checks.redis:RedisCheck",
    "disk": "petsage_grpc.checks.disk:DiskCheck",
    "log": "petsage_grpc.checks.log:LogCheck",
    "heartbeat": "petsage_grpc.checks.heartbeat:HeartbeatCheck",
    "python": "petsage_grpc.checks.python:PythonCheck",
}
"""Where the class of each kind of our own is found."""


class UnknownKindError(LookupError):
    """There is no kind of check of that name."""


def brought_kinds() -> dict[str, EntryPoint]:
    """Find the kinds that installed packages bring, by name; none of them is imported.

    Raises PackageError when two kinds have one name.
    """
    found: dict[str, EntryPoint] = {}
    for entry in installed(CHECKS):
        other = "petsage-grpc" if entry.name in KINDS else None
        if entry.name in found:
            other = found[entry.name].package
        if other is not None:
            raise PackageError(
                f"kind {entry.name} is brought by both {other} and {entry.package}:"
                f" remove {entry.package}, or have it use another name"
            )
        found[entry.name] = entry
    return found


def kind_names() -> list[str]:
    """Name every kind that there is, our own first."""
    return [*KINDS, *brought_kinds()]


def kind_of(check: Check) -> str:
    """Say of what kind a check is; that of a class which is no kind goes by the class's name."""
    place = f"{type(check).__module__}:{type(check).__qualname__}"
    brought = {name: f"{entry.module}:{entry.attribute}" for name, entry in brought_kinds().items()}
    kinds = {where: name for name, where in (KINDS | brought).items()}
    return kinds.get(place, type(check).__name__)


def load_kind(kind: str) -> type[Check]:
    """Import the class of a kind of check; its dataclass fields are the settings of the kind.

    Raises UnknownKindError; PackageError when what a package brings is no kind.
    """
    if kind in KINDS:
        module, _, name = KINDS[kind].partition(":")
        ours: type[Check] = getattr(importlib.import_module(module), name)
        return ours
    entry = brought_kinds().get(kind)
    if entry is None:
        raise UnknownKindError(kind)
    loaded = entry.load(f"kind {kind}")
    if not (isinstance(loaded, type) and issubclass(loaded, Check)):
        wrong = "is no subclass of petsage_grpc.Check"
    elif not dataclasses.is_dataclass(loaded):
        wrong = "is no dataclass, so its settings are not known: put @dataclass(kw_only=True) on it"
    elif loaded.__dataclass_params__.frozen:
        wrong = "is frozen, but the monitor has to tell it things: leave out frozen=True"
    elif missing := sorted(loaded.__abstractmethods__):
        wrong = f"has no method {', '.join(missing)}"
    else:
        return loaded
    place = f"{entry.module}:{entry.attribute}".removesuffix(":")
    raise PackageError(f"kind {kind} ({entry.package}): {place} {wrong}")

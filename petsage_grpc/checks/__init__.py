"""How we know: a module for each kind of check, imported only when a check of it is used."""

import importlib
from typing import Final

from petsage_grpc.core.check import Check

__all__ = ["KINDS", "UnknownKindError", "load_kind"]

KINDS: Final = {
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
"""Where the class of each kind is found."""


class UnknownKindError(LookupError):
    """There is no kind of check of that name."""


def load_kind(kind: str) -> type[Check]:
    """Import the class of a kind of check; its dataclass fields are the settings of the kind.

    Raises UnknownKindError.
    """
    if kind not in KINDS:
        raise UnknownKindError(kind)
    module, _, name = KINDS[kind].partition(":")
    loaded: type[Check] = getattr(importlib.import_module(module), name)
    return loaded

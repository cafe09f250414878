"""Reads where a downstream is and what it is sent, to tell mistakes before it is asked."""

import re
from collections.abc import Mapping
from ipaddress import IPv6Address
from typing import Final, NamedTuple
from urllib.parse import quote

__all__ = ["Target", "parse_headers", "parse_target"]

_EXAMPLE: Final = 'write it like "ledger:50051", "[::1]:50051" or "unix:/run/ledger.sock"'
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+")
_LAST_PORT: Final = 65535

_NAME: Final = re.compile(r"[0-9a-z_.-]+")
_OURS: Final = frozenset((
    "connection", "content-type", "host", "te", "transfer-encoding", "user-agent", "petsage-hops",
))  # fmt: skip


class Target(NamedTuple):
    """Where a server is."""

    uri: str
    """As grpc takes it."""
    shown: str
    """As people read it."""
    host: str
    """What its certificate is for, if nothing else is said."""


def parse_target(address: str) -> Target:
    """Read ``host:port``, ``[v6]:port`` or ``unix:path``, also with ``dns:///`` before it.

    Raises ValueError, without the address where it may hold a password.
    """
    if address.startswith("unix:"):
        return _parse_unix(address)
    shown = address.removeprefix("dns:///").removeprefix("passthrough:///")
    if "/" in shown or "@" in shown:
        raise ValueError(f"address: it is a URL or the like: {_EXAMPLE}")
    host, _, port = shown.rpartition(":")
    if not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) <= _LAST_PORT:
        raise ValueError(f"address: {shown!r} has no port from 1 to {_LAST_PORT}: {_EXAMPLE}")
    if host.startswith("[") and host.endswith("]"):
        try:
            bare = str(IPv6Address(host[1:-1]))
        except ValueError:
            raise ValueError(
                f"address: {shown!r} is no IPv6 address and port: {_EXAMPLE}"
            ) from None
        return Target(f"dns:///[{quote(bare, safe=':')}]:{port}", shown, bare.partition("%")[0])
    try:
        bare = host if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        bare = ""
    if not _HOST.fullmatch(bare):
        raise ValueError(f"address: {shown!r} is no host and port: {_EXAMPLE}")
    return Target(f"dns:///{bare}:{port}", shown, bare)


def _parse_unix(address: str) -> Target:
    path = address.removeprefix("unix:").removeprefix("//")
    if not path or "\0" in path or (address.startswith("unix://") and not path.startswith("/")):
        raise ValueError(f"address: {address!r} names no socket: {_EXAMPLE}")
    return Target(f"unix:{path}", f"unix:{path}", "localhost")


def parse_headers(headers: Mapping[str, str]) -> tuple[tuple[str, str | bytes], ...]:
    """Make metadata of headers; a name ending in ``-bin`` may have any text for a value.

    Raises ValueError, without the values: they may be secret.
    """
    metadata: list[tuple[str, str | bytes]] = []
    for written, value in headers.items():
        name = written.lower()
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"headers: {written!r} is no name: write letters, digits, '-', '_' and '.' alone"
            )
        if name in _OURS or name.startswith("grpc-"):
            raise ValueError(f"headers: {written!r} belongs to the protocol: leave it out")
        if name.endswith("-bin"):
            metadata.append((name, value.encode()))
        elif value.isascii() and value.isprintable() and value == value.strip():
            metadata.append((name, value))
        else:
            raise ValueError(
                f"headers: the value of {written!r} must be printable ASCII without spaces around"
                ' it: mend it, or send it as bytes under a name that ends in "-bin"'
            )
    return tuple(metadata)

"""Reads addresses as people and gRPC write them, and looks their hosts up within a time limit."""

import socket
import threading
from typing import NamedTuple

from petsage_grpc.rpc.client.errors import AddressError

__all__ = ["Address", "Place", "look_up", "parse_address"]

Place = str | tuple[object, ...]
"""A socket address, whatever its family."""

_PREFIXES = ("dns:///", "passthrough:///")
_LAST_PORT = 65535


class Address(NamedTuple):
    """Where a server listens."""

    text: str
    """As it was given."""
    host: str
    """A name or an IP address without brackets; "localhost" for a Unix socket."""
    port: int = 0
    path: str = ""
    """The Unix socket; empty for TCP."""

    @property
    def authority(self) -> str:
        """What HTTP/2 calls the server."""
        host = self.host.partition("%")[0]  # the zone of an IPv6 address is ours alone
        if self.path:
            return host
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read ``host:port``, ``[v6]:port``, ``:port`` (this host) or ``unix:path``.

    The prefixes ``dns:///`` and ``passthrough:///`` are tolerated. Raises AddressError.
    """
    if text.startswith("unix:"):
        return _parse_unix(text)
    rest = text
    for prefix in _PREFIXES:
        rest = rest.removeprefix(prefix)
    if "://" in rest:
        raise AddressError(text, f'leave out "{rest[: rest.index("://")]}://"; write HOST:PORT')
    if "/" in rest or " " in rest or not rest.isprintable():
        raise AddressError(text, "write HOST:PORT and nothing else")
    host, colon, port = rest.rpartition(":")
    if not colon or rest.endswith("]"):
        raise AddressError(text, "the port is missing; write HOST:PORT")
    is_number = port.isascii() and port.isdecimal() and len(port) <= len(str(_LAST_PORT))
    if not is_number or not 1 <= int(port) <= _LAST_PORT:
        raise AddressError(text, f'"{port}" is no port; it must be from 1 to {_LAST_PORT}')
    return Address(text, _parse_host(text, host), int(port))


def _parse_unix(text: str) -> Address:
    # gRPC has unix:path and unix:///absolute/path
    path = text.removeprefix("unix:").removeprefix("//")
    if not path or (text.startswith("unix://") and not path.startswith("/")):
        raise AddressError(text, "write unix:PATH, or unix:///PATH with an absolute path")
    return Address(text, "localhost", path=path)


def _parse_host(text: str, host: str) -> str:
    if host.startswith("[") and host.endswith("]") and host != "[]":
        return host[1:-1]
    if ":" in host or "[" in host or "]" in host:
        raise AddressError(text, "write an IPv6 address in brackets, as in [::1]:50051")
    if host.isascii():
        return host or "localhost"  # as in Go, no host means this one
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        raise AddressError(text, "the host is no valid name") from None


def look_up(address: Address, timeout: float) -> list[tuple[int, Place]]:
    """Return each socket family and socket address that `address` stands for, best first.

    Raises TimeoutError after `timeout` seconds, and OSError when there is no such host.
    """
    if address.path:
        return [(socket.AF_UNIX, address.path)]
    found: list[list[tuple[int, Place]] | OSError] = []

    def ask(flags: int = 0) -> None:
        try:
            # bytes, because a str would import the IDNA codec even for a number
            answers = socket.getaddrinfo(
                address.host.encode(), address.port, type=socket.SOCK_STREAM, flags=flags
            )
            found.append([(family, place) for family, *_, place in answers])
        except OSError as error:
            found.append(error)

    ask(socket.AI_NUMERICHOST)  # this never asks a name server, so that it needs no thread
    if isinstance(found[-1], OSError):
        found.clear()
        asking = threading.Thread(target=ask, name="look-up", daemon=True)
        asking.start()
        asking.join(timeout)
        if not found:
            raise TimeoutError
    if isinstance(found[-1], OSError):
        raise found[-1]
    return found[-1]

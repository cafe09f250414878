"""Reads where to listen: the one form of an address that servers of ours know."""

import re
from typing import Final

__all__ = ["MAX_PORT", "parse_listen"]

MAX_PORT: Final = 65535


def parse_listen(address: str) -> tuple[str, int]:
    """Split an address to listen on into its host and port; a unix socket's port is -1.

    Raises ValueError, saying what is wrong, when it is none.
    """
    if address.startswith("unix:"):
        path = address.removeprefix("unix:").removeprefix("//")
        if not path:
            raise ValueError(f'{address!r} names no socket: write it like "unix:/run/petsage.sock"')
        return path, -1
    host, colon, port = address.rpartition(":")
    example = 'write it like "127.0.0.1:50051", "[::1]:50051" or "unix:/run/petsage.sock"'
    if not colon or not port:
        raise ValueError(f"{address!r} has no port: {example}")
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > MAX_PORT:
        raise ValueError(f"{address!r} has no port from 0 to {MAX_PORT}: {example}")
    if host.startswith("[") and host.endswith("]"):
        import ipaddress  # noqa: PLC0415 -- few listen so

        host = host[1:-1]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError(f"{address!r} is no IPv6 address and port: {example}") from None
    elif not host or ":" in host:
        raise ValueError(f"{address!r} is no host and port: {example}")
    return host, int(port)

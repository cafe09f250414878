"""Opens a connection to a Redis server step by step, so that each that fails or hangs is named."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from petsage_grpc.checks._dial import Address as Place
from petsage_grpc.checks._dial import open_socket
from petsage_grpc.checks._redis_url import Address
from petsage_grpc.checks._tls import TlsSettings
from petsage_grpc.core.check import CheckFailedError

__all__ = ["Streams", "Tell", "describe_tls", "open_streams"]

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Tell = Callable[[str], None]


async def open_streams(address: Address, tls: TlsSettings | None, tell: Tell) -> Streams:
    """Connect to a server, by TLS if it is given, and `tell` each step before it is done.

    Raises CheckFailedError.
    """
    connected = await _dial(address, tell)
    try:
        options: dict[str, Any] = {}
        if tls is not None:
            tell(f"shaking hands with {address}, if it speaks TLS")
            name = tls.tls_server_name or address.host
            options = {"ssl": tls.ssl_context(), "server_hostname": name}
        return await asyncio.open_connection(sock=connected, **options)
    except BaseException as error:
        connected.close()
        if isinstance(error, OSError) and tls is not None:
            raise CheckFailedError(describe_tls(address, tls, error)) from error
        raise


def describe_tls(address: Address, tls: TlsSettings, error: OSError) -> str:
    """Say what a failure of TLS means."""
    turn_off = "write redis instead of rediss in url"
    return tls.explain_tls(error, str(address), name=address.host, turn_off=turn_off)


async def _dial(address: Address, tell: Tell) -> socket.socket:
    host, port = address
    place = Place(str(address), host, port, path="" if port else host)
    try:
        return await open_socket(place, tell)
    except (socket.gaierror, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "no host has such a name"
        raise CheckFailedError(
            f"{host} can not be resolved ({why}): correct the host, or see to the DNS"
        ) from error
    except OSError as error:
        raise CheckFailedError(_describe(address, error)) from error


def _describe(address: Address, error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError | FileNotFoundError):
        return f"nothing listens on {address}: start Redis there, or correct url"
    if isinstance(error, PermissionError):
        return f"this user may not use {address}: change its mode (unixsocketperm)"
    return f"{address} can not be reached ({error.strerror or error}): correct url, or the network"

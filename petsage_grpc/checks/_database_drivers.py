"""Does to each driver what SQLAlchemy does not: connects so that a run can end, and cuts off."""

import asyncio
import contextlib
import functools
import importlib
import os
import socket
import struct
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final

from petsage_grpc.checks._database_errors import Fault, FaultError
from petsage_grpc.checks._database_url import Database

__all__ = ["connect", "cut"]

_SSL_REQUEST: Final = struct.pack("!ii", 8, 80877103)
"""What PostgreSQL answers with one byte before anything else."""


async def connect(database: Database, settings: Mapping[str, Any], tls: Mapping[str, Any]) -> Any:  # noqa: ANN401 -- the driver's own
    """Connect as SQLAlchemy would have the driver do it; cancelled, it leaves nothing behind.

    Args:
        database: what to connect to.
        settings: what SQLAlchemy gives the driver.
        tls: what the driver is given for TLS; without any it is not demanded.
    """
    module: Any = importlib.import_module(database.driver)
    if database.system == "MySQL":
        return await _connect_mysql(module, settings, tls)
    driver = database.driver
    function = module.connect if driver == "asyncpg" else module.AsyncConnection.connect
    if driver == "asyncpg" and database.plain:
        await _speaks_postgresql(settings.get("host"), settings.get("port"))
    if driver == "psycopg" and "host" in tls:
        name, host, port = tls["host"], settings.get("host"), settings.get("port")
        tls = {**tls, **await _named(name, host, port)}
    try:
        return await function(**{**settings, **tls})
    except BaseException as error:
        _clean_up(driver, error.__traceback__)
        raise


def cut(database: Database, raw: Any) -> None:  # noqa: ANN401 -- the driver's own
    """Break a driver's connection off, so that whatever waits for it ends now."""
    if database.driver == "asyncpg":
        raw.terminate()
    elif database.driver == "psycopg":
        with contextlib.suppress(Exception), socket.socket(fileno=os.dup(raw.fileno())) as dup:
            dup.shutdown(socket.SHUT_RDWR)
    else:
        if raw.transport is not None:  # asyncmy shows it to nobody
            raw.transport.abort()  # close() alone would wait for an end of TLS
        raw.close()


def _clean_up(driver: str, trace: TracebackType | None) -> None:
    """End what a driver leaves behind when it is cancelled while it connects."""
    if driver == "psycopg":  # it closes its socket when nobody refers to it any more
        traceback.clear_frames(trace)
    if driver == "asyncpg":  # or asyncio would log that nobody wanted the answer about TLS
        for frame, _ in traceback.walk_tb(trace):
            answer = getattr(frame.f_locals.get("protocol"), "on_data", None)
            if isinstance(answer, asyncio.Future):
                answer.cancel()


async def _speaks_postgresql(host: Any, port: Any) -> None:  # noqa: ANN401 -- as a URL gave them
    """Make sure that a server is PostgreSQL, where the driver would not ask it for TLS.

    asyncpg would never return from reading certain answers of other servers, and stop the loop.
    """
    if not isinstance(host, str) or host.startswith("/"):
        return
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(_SSL_REQUEST)
        answer = await reader.read(2)
    finally:
        writer.transport.abort()
    if answer not in (b"S", b"N"):
        raise FaultError(Fault.GARBAGE if answer else Fault.CLOSED)


async def _named(name: str, host: Any, port: Any) -> dict[str, str]:  # noqa: ANN401 -- likewise
    """Have libpq connect to a host, but expect a certificate for another name."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host or "localhost", port, type=socket.SOCK_STREAM)
    addresses = [str(address[0]) for *_, address in found]
    return {"host": ",".join([name] * len(addresses)), "hostaddr": ",".join(addresses)}


async def _connect_mysql(
    module: Any,  # noqa: ANN401 -- whichever driver it is
    settings: Mapping[str, Any],
    tls: Mapping[str, Any],
) -> Any:  # noqa: ANN401 -- likewise
    raw = _watched(module.Connection)(**{**settings, **tls})
    try:
        await (raw.connect if hasattr(raw, "connect") else raw._connect)()
        if tls and raw.transport and raw.transport.get_extra_info("ssl_object") is None:
            raise FaultError(Fault.NO_TLS)  # aiomysql goes on without
    except BaseException:
        if raw.transport is not None:
            raw.transport.abort()  # or it would wait for the server to end TLS
        raw.close()
        raise
    return raw


@functools.cache
def _watched(base: type) -> type[Any]:
    """Make connections that know their transport, which aiomysql forgets when it fails."""

    class Connection(base):  # type: ignore[misc] # whichever driver it is
        transport: asyncio.Transport | None = None

        def __setattr__(self, name: str, value: Any) -> None:  # noqa: ANN401 -- any attribute
            if name == "_writer" and value is not None:
                self.transport = value.transport
            super().__setattr__(name, value)

    return Connection

"""Asks a database: over one connection that is kept, or on a thread where its driver blocks."""

import asyncio
import contextlib
import importlib
import logging
import os
import socket
import struct
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol

from petsage_grpc.checks._database_errors import OF_THE_QUERY, Fault, FaultError, find_fault
from petsage_grpc.checks._database_url import Database
from petsage_grpc.checks._thread import run_blocking
from petsage_grpc.core.check import Check

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = ["KeptLink", "Link", "ThreadLink"]

_AGAIN: Final = 0.05
"""Seconds after which a driver that has not noticed that its run is cancelled is told again."""

_GOODBYE: Final = 0.1
"""Seconds that a server gets to hear that we leave."""

_SSL_REQUEST: Final = struct.pack("!ii", 8, 80877103)
"""What PostgreSQL answers with one byte before anything else."""

_STEPS: Final = 10_000
"""Steps of SQLite's machine, a millisecond at most, between two looks at the clock."""

_QUIET: Final = "petsage-grpc"
for _part in ("engine.Engine", "pool.impl.NullPool"):
    # Ours alone: what we have to say of an error we say ourselves, and without a traceback.
    logging.getLogger(f"sqlalchemy.{_part}.{_QUIET}").setLevel(logging.CRITICAL + 1)
_ENGINE: Final[dict[str, Any]] = {
    "logging_name": _QUIET,
    "pool_logging_name": _QUIET,
    # The query is the user's own: no %, : or ? in it stands for a parameter.
    "execution_options": {"no_parameters": True},
}


class Link(Protocol):
    """The way to a database."""

    async def ask(self) -> None:
        """Ask the query; raises what the driver raises, or FaultError."""

    async def close(self) -> None:
        """Give back what is held."""


class KeptLink:
    """One connection over the network: kept between runs, and renewed when it is dead.

    Args:
        check: whose runs they are.
        database: what to ask.
        query: what to ask it.
        limit: seconds that the server may take for it.
        keep_for: seconds after which the connection is replaced.
        tls: what the driver is given for TLS.
    """

    def __init__(
        self,
        check: Check,
        database: Database,
        query: str,
        *,
        limit: float,
        keep_for: float,
        tls: Callable[[], dict[str, Any]],
    ) -> None:
        from sqlalchemy import NullPool  # noqa: PLC0415 -- who has no such check needs none of it
        from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415 -- likewise

        self._check = check
        self._database = database
        self._limit = max(1, round(limit * 1000))
        self._keep_for = keep_for
        self._tls = tls
        self._statements = [query, "ROLLBACK"]
        if database.system == "PostgreSQL":
            # All of it ends with the transaction: a pooler may give the session to others.
            timeout = f"SET LOCAL statement_timeout = {self._limit}"
            self._statements = ["BEGIN READ ONLY", timeout, query, "ROLLBACK"]
        self._engine = create_async_engine(
            database.url,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",  # transactions are ours: SQLAlchemy's are not read-only
            connect_args={**database.arguments, "async_creator_fn": self._create},
            **_ENGINE,
        )
        self._connection: AsyncConnection | None = None
        self._raw: Any = None
        self._since = 0.0
        self._given_up = False

    async def ask(self) -> None:
        """Ask; what a cancelled run has touched is thrown away.

        It is done in a task of its own, which is not cancelled while it talks: drivers would then
        wait for the server again, to tell it so.
        """
        self._given_up = False
        asking = asyncio.create_task(self._ask(), name="petsage database check")
        try:
            await asyncio.wait((asking,))
        except asyncio.CancelledError:
            self._given_up = True
            if self._raw is not None:
                self._cut(self._raw)
                await asyncio.wait((asking,), timeout=_AGAIN)
            while not asking.done():
                asking.cancel()
                await asyncio.wait((asking,), timeout=_AGAIN)
            if not asking.cancelled():
                asking.exception()  # or asyncio would log that nobody wanted to know
            raise
        asking.result()

    async def close(self) -> None:
        """Say goodbye to the server, if it listens."""
        if self._connection is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_GOODBYE):
                    await self._connection.close()
            await self._discard()

    async def _ask(self) -> None:
        if time.monotonic() - self._since >= self._keep_for:
            await self.close()
        kept = self._connection is not None
        try:
            await self._ask_once()
        except Exception as error:
            if not kept or self._given_up or find_fault(error).fault in OF_THE_QUERY:
                raise
        else:
            return
        await self._ask_once()  # the connection was dead, but the server need not be

    async def _ask_once(self) -> None:
        try:
            if self._connection is None:
                await self._connect()
            assert self._connection is not None
            self._check.doing = f"asking {self._database.at}"
            for statement in self._statements:
                await self._connection.exec_driver_sql(statement)
        except BaseException:
            await self._discard()
            raise
        if self._given_up:
            await self._discard()

    async def _connect(self) -> None:
        self._check.doing = f"connecting to {self._database.at}"
        self._connection = await self._engine.connect()
        self._since = time.monotonic()
        if self._database.system == "PostgreSQL":
            return
        timeout = f"max_execution_time = {self._limit}"
        if getattr(self._engine.dialect, "is_mariadb", False):
            timeout = f"max_statement_time = {self._limit / 1000}"
        # A read-only transaction would not do: MariaDB ends it before a statement like CREATE.
        for setting in ("TRANSACTION READ ONLY", timeout):
            await self._connection.exec_driver_sql(f"SET SESSION {setting}")

    async def _create(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 -- the driver's own
        """Connect as SQLAlchemy would, but know of the driver's connection from the start."""
        driver, tls = self._database.driver, self._tls()
        module: Any = importlib.import_module(driver)
        if self._database.system == "MySQL":
            self._raw = raw = await _connect_mysql(module, *args, **{**kwargs, **tls})
            if tls and raw.transport and raw.transport.get_extra_info("ssl_object") is None:
                raise FaultError(Fault.NO_TLS)  # aiomysql goes on without
            return raw
        connect = module.connect if driver == "asyncpg" else module.AsyncConnection.connect
        if driver == "asyncpg" and self._database.plain:
            await _speaks_postgresql(kwargs.get("host"), kwargs.get("port"))
        if driver == "psycopg" and "host" in tls:
            tls |= await _named(tls["host"], kwargs.get("host"), kwargs.get("port"))
        try:
            self._raw = raw = await connect(*args, **{**kwargs, **tls})
        except BaseException as error:
            _clean_up(driver, error.__traceback__)
            raise
        return raw

    async def _discard(self) -> None:
        connection, self._connection = self._connection, None
        raw, self._raw = self._raw, None
        if raw is not None:
            self._cut(raw)
        if connection is not None:
            with contextlib.suppress(Exception):  # it is dead, and may be so in any way
                await connection.invalidate()
            with contextlib.suppress(Exception):
                await connection.close()

    def _cut(self, raw: Any) -> None:  # noqa: ANN401 -- the driver's own
        """Break a driver's connection off, so that whatever waits for it ends now."""
        if self._database.driver == "asyncpg":
            raw.terminate()
        elif self._database.driver == "psycopg":
            with contextlib.suppress(Exception), socket.socket(fileno=os.dup(raw.fileno())) as dup:
                dup.shutdown(socket.SHUT_RDWR)
        else:
            if raw.transport is not None:  # asyncmy shows it to nobody
                raw.transport.abort()  # close() alone would wait for an end of TLS
            raw.close()


class ThreadLink:
    """A connection anew for each run, on a thread: for SQLite, and for drivers that block.

    A file that was replaced would stay in sight of a connection that is kept.

    Args:
        check: whose run it is.
        database: what to ask.
        query: what to ask it.
        limit: seconds that SQLite may take for it, and wait for a lock.
    """

    def __init__(self, check: Check, database: Database, query: str, *, limit: float) -> None:
        from sqlalchemy import NullPool, create_engine  # noqa: PLC0415 -- as in KeptLink

        self._check = check
        self._database = database
        self._query = query
        self._limit = limit
        self._sqlite = database.system == "SQLite"
        waits = {"timeout": limit} if self._sqlite else {}
        self._engine = create_engine(
            database.url, poolclass=NullPool, connect_args=waits, **_ENGINE
        )

    async def ask(self) -> None:
        """Ask; when cancelled it ends with its thread, so that no second one is ever started."""
        await run_blocking(self._check, self._ask, name="petsage database check")

    async def close(self) -> None:
        """Do nothing: nothing is held between runs."""

    def _ask(self) -> None:
        at, file = self._database.at, self._database.file
        self._check.doing = f"opening {at}"
        if file and not Path(file).exists():
            raise FaultError(Fault.NO_FILE)
        with self._engine.connect() as connection:
            self._check.doing = f"asking {at}"
            if self._sqlite:
                raw: Any = connection.connection.driver_connection
                end = time.monotonic() + self._limit
                raw.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
                connection.exec_driver_sql("PRAGMA query_only = ON")
                # A query like SELECT 1 does not look into the file: this reads its first page.
                connection.exec_driver_sql("PRAGMA schema_version").first()
            result = connection.exec_driver_sql(self._query)
            if result.returns_rows:
                result.first()


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


async def _connect_mysql(module: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 -- likewise
    """Connect as the driver does, but know of the transport, which it forgets when it fails."""

    class Connection(module.Connection):  # type: ignore[misc] # whichever driver it is
        transport: asyncio.Transport | None = None

        def __setattr__(self, name: str, value: Any) -> None:  # noqa: ANN401 -- any attribute
            if name == "_writer" and value is not None:
                self.transport = value.transport
            super().__setattr__(name, value)

    raw = Connection(*args, **kwargs)
    try:
        await (raw.connect if hasattr(raw, "connect") else raw._connect)()
    except BaseException:
        if raw.transport is not None:
            raw.transport.abort()  # or it would wait for the server to end TLS
        raise
    return raw

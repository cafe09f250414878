"""Asks a database over the network, by one connection that is kept as long as it works."""

import asyncio
import contextlib
import functools
import logging
import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from petsage_grpc.checks._database_drivers import connect, cut
from petsage_grpc.checks._database_errors import OF_THE_QUERY, find_fault
from petsage_grpc.checks._database_url import Database
from petsage_grpc.checks._thread import run_blocking
from petsage_grpc.core.check import Check

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = ["ENGINE", "KeptLink", "Link"]

_AGAIN: Final = 0.05
"""Seconds after which a driver that has not noticed that its run is cancelled is told again."""

_GOODBYE: Final = 0.1
"""Seconds that a server gets to hear that we leave."""

_QUIET: Final = "petsage-grpc"
for _part in ("engine.Engine", "pool.impl.NullPool"):
    # Ours alone: what we have to say of an error we say ourselves, and without a traceback.
    logging.getLogger(f"sqlalchemy.{_part}.{_QUIET}").setLevel(logging.CRITICAL + 1)
ENGINE: Final[dict[str, Any]] = {
    "logging_name": _QUIET,
    "pool_logging_name": _QUIET,
    # The query is the user's own: no %, : or ? in it stands for a parameter.
    "execution_options": {"no_parameters": True},
}
"""What every engine of ours is made with."""


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
        self._statements = [query]
        if database.system == "PostgreSQL":
            # All of it ends with the transaction: a pooler may give the session to others.
            timeout = f"SET LOCAL statement_timeout = {self._limit}"
            self._statements = ["BEGIN READ ONLY", timeout, query, "ROLLBACK"]
        self._engine = create_async_engine(
            database.url,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",  # transactions are ours: SQLAlchemy's are not read-only
            connect_args={**database.arguments, "async_creator_fn": self._create},
            **ENGINE,
        )
        self._connection: AsyncConnection | None = None
        self._raw: Any = None
        self._since = 0.0

    async def ask(self) -> None:
        """Ask; a connection that has died since the last run is no failure, if a new one works."""
        if time.monotonic() - self._since >= self._keep_for:
            await self.close()
        if self._connection is not None:
            try:
                await self._ask_to_the_end()
            except Exception as error:
                if find_fault(error).fault in OF_THE_QUERY:
                    raise
            else:
                return
        await self._look_up()
        await self._ask_to_the_end()

    async def close(self) -> None:
        """Say goodbye to the server, if it listens."""
        if self._connection is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_GOODBYE):
                    await self._connection.close()
            await self._discard()

    async def _look_up(self) -> None:
        """Make sure that the host has an address.

        Drivers look it up on the loop's threads, which all share: a resolver can hang longer than
        any run. This one hangs on a thread of its own, and before them.
        """
        asked = [host for host in self._database.hosts if not _is_number(host)]
        if asked:
            self._check.doing = f"looking up {', '.join(asked)}"
            work = functools.partial(_any_has_address, asked)
            await run_blocking(self._check, work, name="petsage look-up")

    async def _ask_to_the_end(self) -> None:
        """Ask in a task of its own; what a cancelled one has touched is thrown away.

        It is not cancelled while it talks: drivers would wait for the server again, to tell it so.
        """
        asking = asyncio.create_task(self._ask(), name="petsage database check")
        try:
            await asyncio.wait((asking,))
        except asyncio.CancelledError:
            if self._raw is not None:
                cut(self._database, self._raw)
                await asyncio.wait((asking,), timeout=_AGAIN)
            while not asking.done():
                asking.cancel()
                await asyncio.wait((asking,), timeout=_AGAIN)
            if not asking.cancelled():
                asking.exception()  # or asyncio would log that nobody wanted to know
            await self._discard()
            raise
        asking.result()

    async def _ask(self) -> None:
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

    async def _create(self, **settings: Any) -> Any:  # noqa: ANN401 -- the driver's own
        """Connect in SQLAlchemy's place, so that the driver's connection is known at once."""
        self._raw = await connect(self._database, settings, self._tls())
        return self._raw

    async def _discard(self) -> None:
        connection, self._connection = self._connection, None
        raw, self._raw = self._raw, None
        if raw is not None:
            cut(self._database, raw)
        if connection is not None:
            with contextlib.suppress(Exception):  # it is dead, and may be so in any way
                await connection.invalidate()
            with contextlib.suppress(Exception):
                await connection.close()


def _is_number(host: str) -> bool:
    with contextlib.suppress(OSError):
        return bool(socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST))
    return False


def _any_has_address(hosts: Sequence[str]) -> None:
    for number, host in enumerate(hosts, start=1):
        try:
            socket.getaddrinfo(host, None)
        except socket.gaierror:
            if number == len(hosts):
                raise
        else:
            return

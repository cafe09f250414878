"""Asks a database whose driver blocks, on a thread: SQLite, and what only SQLAlchemy knows."""

import time
from pathlib import Path
from typing import Any, Final

from petsage_grpc.checks._database_errors import Fault, FaultError
from petsage_grpc.checks._database_link import ENGINE
from petsage_grpc.checks._database_url import Database
from petsage_grpc.checks._thread import run_blocking
from petsage_grpc.core.check import Check

__all__ = ["ThreadLink"]

_STEPS: Final = 10_000
"""Steps of SQLite's machine, a millisecond at most, between two looks at the clock."""


class ThreadLink:
    """A connection anew for each run, on a thread of it.

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
        self._engine = create_engine(database.url, poolclass=NullPool, connect_args=waits, **ENGINE)

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

"""Real servers of databases, which the tests of a session share, and what all of them ask."""

import asyncio
import importlib.util
import logging
import os
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from petsage_grpc.checks.database import DatabaseCheck
from petsage_grpc.core.check import CheckFailedError
from tests import databases, faults
from tests.databases import DATABASE, HOST, PASSWORD, USER, MariaDBServer, PostgresServer

POSTGRES_DRIVERS = ("asyncpg", "psycopg")
MYSQL_DRIVERS = [name for name in ("aiomysql", "asyncmy") if importlib.util.find_spec(name)]
PLENTY = 5.0
"""Seconds in which whatever answers at all has answered."""
WRONG = "wr0ng?pass%word"

Make = Callable[..., DatabaseCheck]
Server = PostgresServer | MariaDBServer


def need(error: databases.MissingServerError) -> None:
    """Skip for want of a server, but not where all of them must be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(str(error))
    pytest.skip(str(error))


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder to which every user finds the way, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="session")
def running_postgres(folder: Path) -> Iterator[PostgresServer]:
    server = PostgresServer(folder / "postgres", faults.free_port())
    server.folder.mkdir()
    try:
        server.create()
    except databases.MissingServerError as error:
        need(error)
    server.start()
    server.execute(f"CREATE DATABASE {DATABASE}", "CREATE ROLE limited LOGIN CONNECTION LIMIT 0")
    server.execute(f"ALTER ROLE limited PASSWORD '{PASSWORD}'", "CREATE TABLE pets (name text)")
    yield server
    server.kill()


@pytest.fixture
def postgres(running_postgres: PostgresServer) -> PostgresServer:
    """PostgreSQL, started anew if the last test has ended it."""
    if not running_postgres.running:
        running_postgres.start()
    return running_postgres


@pytest.fixture(scope="session")
def running_mariadb(folder: Path) -> Iterator[MariaDBServer]:
    server = MariaDBServer(folder / "mariadb", faults.free_port())
    server.folder.mkdir()
    try:
        server.create()
    except databases.MissingServerError as error:
        need(error)
    server.start()
    server.execute(
        f"CREATE USER limited@'%' IDENTIFIED BY '{PASSWORD}' WITH MAX_USER_CONNECTIONS 1",
        f"CREATE TABLE {DATABASE}.pets (name text)",
    )
    yield server
    server.kill()


@pytest.fixture
def mariadb(running_mariadb: MariaDBServer) -> MariaDBServer:
    """MariaDB, started anew if the last test has ended it."""
    if not running_mariadb.running:
        running_mariadb.start()
    return running_mariadb


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """What makes a check that is closed when the test ends."""
    made: list[DatabaseCheck] = []

    def make_one(url: str, **settings: Any) -> DatabaseCheck:
        made.append(DatabaseCheck(url=url, **settings))
        return made[-1]

    yield make_one
    for check in made:
        await check.close()


@pytest.fixture(autouse=True)
def silence(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No driver logs an error, or a secret at any level."""
    caplog.set_level(logging.DEBUG)
    yield
    for record in caplog.get_records("call"):
        assert record.levelno < logging.WARNING, record.getMessage()
        assert_no_secret(record.getMessage())


def url_of(
    server: Server,
    driver: str,
    *,
    user: str = USER,
    password: str = PASSWORD,
    host: str = HOST,
    port: int = 0,
    database: str = DATABASE,
    query: str = "",
) -> str:
    dialect = "postgresql" if isinstance(server, PostgresServer) else "mysql"
    login = f"{user}:{quote(password, safe='')}"
    return f"{dialect}+{driver}://{login}@{host}:{port or server.port}/{database}{query}"


async def passes(check: DatabaseCheck) -> None:
    await asyncio.wait_for(check.run(), PLENTY)


async def failure_of(check: DatabaseCheck) -> str:
    """Run a check that fails; return what it says."""
    with pytest.raises(CheckFailedError) as failed:
        await asyncio.wait_for(check.run(), PLENTY)
    error = failed.value
    assert error.__suppress_context__, "a traceback would show what the driver has raised"
    assert "\n" not in str(error)
    assert_no_secret(f"{error} {error!r} {check!r}")
    return str(error)


def connections(server: Server) -> list[int]:
    """List the connections of checks, as the server knows them."""
    if isinstance(server, PostgresServer):
        ours = "FROM pg_stat_activity WHERE application_name = 'petsage-grpc'"
        return [pid for (pid,) in server.execute(f"SELECT pid {ours}")]
    ours = f"FROM information_schema.processlist WHERE db = '{DATABASE}'"
    return [number for (number,) in server.execute(f"SELECT id {ours}")]


def assert_no_secret(text: str) -> None:
    for secret in (PASSWORD, WRONG):
        assert secret not in text
        assert quote(secret, safe="") not in text
    assert "://" not in text


async def hangs(check: DatabaseCheck, doing: str) -> None:
    """Run a check that hangs while it is doing that, and give it up; it ends promptly then."""
    run = asyncio.create_task(check.run())
    assert await eventually(lambda: check.doing == doing), check.doing
    await asyncio.wait({run}, timeout=0.05)
    assert (run.done(), check.doing) == (False, doing)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(run, 5.0)


def resources() -> dict[str, int]:
    """Count what a run could leave behind."""
    threads = [t for t in threading.enumerate() if not t.name.startswith("asyncio_")]
    return {
        "tasks": len(asyncio.all_tasks()),
        "threads": len(threads),
        "descriptors": len(os.listdir("/proc/self/fd")),  # noqa: PTH208 -- a number is enough
    }


async def nothing_more_than(before: dict[str, int]) -> None:
    """Wait until a run has left nothing behind; what others have left may go meanwhile."""
    assert await eventually(
        lambda: all(now <= before[what] for what, now in resources().items())
    ), (
        before,
        resources(),
    )


async def eventually(true: Callable[[], bool]) -> bool:
    """Ask again until it is true, or for too long."""
    end = time.monotonic() + PLENTY
    while not true():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0)
    return True

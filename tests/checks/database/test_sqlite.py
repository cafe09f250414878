"""SQLite, and any other database whose driver blocks: on one thread, which nothing multiplies."""

import asyncio
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from petsage_grpc.core.units import Duration
from tests import faults
from tests.checks.database.conftest import (
    Make,
    eventually,
    failure_of,
    hangs,
    nothing_more_than,
    passes,
    resources,
)

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT sum(i) FROM n"


class ElsewhereDialect(SQLiteDialect_pysqlite):
    """A dialect that a package brings."""

    name = "elsewhere"
    supports_statement_cache = True


registry.register("elsewhere", __name__, "ElsewhereDialect")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pets of mine #1.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE pets (name text)")
        connection.commit()
    return path


@pytest.fixture
def locked(file: Path) -> Iterator[sqlite3.Connection]:
    """A connection that lets nobody else even read."""
    with closing(sqlite3.connect(file, check_same_thread=False)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield connection


def url_of(file: Path, driver: str = "sqlite") -> str:
    return f"{driver}:///{file}"


def threads_of_checks() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "petsage database check"]


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite+aiosqlite://",
        "sqlite:///file::memory:?uri=true",
        "sqlite:///file:pets?mode=memory&cache=shared&uri=true",
    ],
)
async def test_a_database_in_memory_passes(make: Make, url: str) -> None:
    await passes(make(url))


@pytest.mark.parametrize("driver", ["sqlite", "sqlite+aiosqlite", "sqlite+pysqlite"])
async def test_a_file_passes_by_any_name_of_the_driver(make: Make, file: Path, driver: str) -> None:
    await passes(
        make(url_of(file, driver), query="SELECT count(*) FROM pets WHERE name <> ':x?%s'")
    )


@pytest.mark.parametrize("mode", ["", "&mode=ro", "&mode=rw", "&mode=rwc"])
async def test_a_file_may_be_named_as_sqlite_does(make: Make, tmp_path: Path, mode: str) -> None:
    file = tmp_path / "pets.db"
    check = make(f"sqlite:///file:{file}?uri=true{mode}")
    assert await failure_of(check) == (
        f"{file} does not exist: create it, or name another file in the url"
    )
    file.touch()
    await passes(check)


async def test_a_missing_file_fails_and_is_not_created(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "none.db"
    assert await failure_of(make(f"sqlite:///{file}")) == (
        f"{file} does not exist: create it, or name another file in the url"
    )
    assert not any(os.scandir(tmp_path))


@pytest.fixture
def garbage(tmp_path: Path) -> Path:
    path = tmp_path / "garbage"
    path.write_bytes(faults.GARBAGE * 100)
    return path


async def test_a_file_that_is_gone_or_replaced_is_noticed(
    make: Make, file: Path, garbage: Path
) -> None:
    check = make(url_of(file))
    await passes(check)
    old = file.with_suffix(".old")
    shutil.move(file, old)
    assert "does not exist" in await failure_of(check)
    shutil.move(garbage, file)
    assert await failure_of(check) == (
        f"{file} is no database of SQLite, or a broken one: name another, or restore it"
    )
    shutil.move(old, file)
    await passes(check)


async def test_a_directory_is_told(make: Make, tmp_path: Path) -> None:
    assert await failure_of(make(f"sqlite:///{tmp_path}")) == (
        f"{tmp_path} can not be opened (unable to open database file): check who may read it and"
        " its directory"
    )


@pytest.mark.parametrize("query", ["INSERT INTO pets VALUES ('Tom')", "CREATE TABLE toys (x)"])
async def test_a_query_can_not_write(make: Make, file: Path, query: str) -> None:
    assert await failure_of(make(url_of(file), query=query)) == (
        "the query writes, but a check may only read (attempt to write a readonly database): have"
        " it read"
    )


async def test_a_query_that_can_not_be_answered_is_told(make: Make, file: Path) -> None:
    assert await failure_of(make(url_of(file), query="SELECT 1 FROM toys")) == (
        f"{file} can not answer the query (no such table: toys): correct the query, or what it"
        " needs"
    )


async def test_a_query_that_takes_too_long_is_ended(make: Make, file: Path) -> None:
    check = make(url_of(file), query=ENDLESS, statement_timeout=Duration(0.1))
    assert await failure_of(check) == (
        f"{file} took longer than statement_timeout = 100ms for the query: make it quicker, or"
        " raise statement_timeout, and timeout above it"
    )


async def test_a_file_that_another_process_locks_fails_until_it_is_free(
    make: Make, file: Path, locked: sqlite3.Connection
) -> None:
    check = make(url_of(file), statement_timeout=Duration(0.1))
    assert await failure_of(check) == (
        f"{file} is locked by another process: have it end its transactions sooner"
    )
    locked.rollback()
    await passes(check)


async def test_writers_are_in_nobodys_way(make: Make, file: Path) -> None:
    check = make(url_of(file), query="SELECT * FROM pets")
    with closing(sqlite3.connect(file)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        await passes(check)
        writer.rollback()
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("BEGIN IMMEDIATE")
        await passes(check)
    await passes(check)


async def test_a_run_that_hangs_ends_with_its_thread_and_not_before(
    make: Make, file: Path, locked: sqlite3.Connection
) -> None:
    assert await eventually(lambda: not threads_of_checks())
    before = resources()
    check = make(url_of(file), statement_timeout=Duration(0.5))
    began = time.monotonic()
    await hangs(check, f"asking {file}")
    assert time.monotonic() - began > 0.4
    locked.rollback()
    await passes(check)
    await nothing_more_than(before)


async def test_a_run_that_hangs_is_left_behind_by_a_loop_that_ends(
    make: Make, file: Path, locked: sqlite3.Connection
) -> None:
    check = make(url_of(file), statement_timeout=Duration(0.5))
    run = asyncio.ensure_future(check.run())
    while check.doing != f"asking {file}":
        await asyncio.sleep(0)
    (left,) = threads_of_checks()
    for _ in range(2):
        run.cancel()
        await asyncio.wait([run], timeout=0.05)
    assert run.cancelled()
    assert left.is_alive()
    assert left.daemon, "it would keep the process alive"
    locked.rollback()
    left.join(5.0)


async def test_fifty_runs_leave_nothing_behind(make: Make, file: Path) -> None:
    check = make(url_of(file))
    await passes(check)
    assert await eventually(lambda: not threads_of_checks())
    before = resources()
    for _ in range(50):
        await passes(check)
    await nothing_more_than(before)


async def test_a_database_that_only_sqlalchemy_knows_is_asked_on_a_thread(make: Make) -> None:
    await passes(make("elsewhere://"))
    check = make("elsewhere://", query="SELECT 1 FROM toys")
    assert await failure_of(check) == (
        "elsewhere can not answer the query (no such table: toys): correct the query, or what it"
        " needs"
    )


async def test_what_is_written_there_is_undone(make: Make, file: Path) -> None:
    await passes(make(url_of(file, "elsewhere"), query="INSERT INTO pets VALUES ('Tom')"))
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT * FROM pets").fetchall() == []

"""A connection is kept, found dead and renewed without a false failure; nothing is left behind."""

import asyncio
import gc
import time

import pytest

from petsage_grpc.core.units import Duration
from tests.checks.database.conftest import (
    MYSQL_DRIVERS,
    POSTGRES_DRIVERS,
    Make,
    Server,
    connections,
    eventually,
    failure_of,
    hangs,
    nothing_more_than,
    passes,
    resources,
    url_of,
)
from tests.databases import HOST, PostgresServer

NEVER = Duration(3600.0)
IN_EVERY_RUN = Duration(0.0)


@pytest.fixture(params=[*POSTGRES_DRIVERS, *MYSQL_DRIVERS])
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(driver: str, request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue("postgres" if driver in POSTGRES_DRIVERS else "mariadb")
    return found


def end_connections(server: Server) -> None:
    """End the connections of checks as an administrator does."""
    for number in connections(server):
        if isinstance(server, PostgresServer):
            server.execute(f"SELECT pg_terminate_backend({number}, 5000)")
        else:
            server.execute(f"KILL {number}")


async def test_one_connection_is_kept_between_runs(server: Server, driver: str, make: Make) -> None:
    check = make(url_of(server, driver))
    await passes(check)
    (first,) = connections(server)
    await passes(check)
    assert connections(server) == [first]


async def test_a_connection_is_replaced_after_its_time(
    server: Server, driver: str, make: Make
) -> None:
    check = make(url_of(server, driver), keep_for=IN_EVERY_RUN)
    await passes(check)
    (first,) = connections(server)
    await passes(check)
    assert await eventually(lambda: len(connections(server)) == 1)
    assert connections(server) != [first]


async def test_a_connection_that_the_server_has_ended_costs_no_failure(
    server: Server, driver: str, make: Make
) -> None:
    check = make(url_of(server, driver))
    await passes(check)
    end_connections(server)
    await passes(check)


async def test_a_restart_between_two_runs_costs_no_failure(
    server: Server, driver: str, make: Make
) -> None:
    check = make(url_of(server, driver))
    await passes(check)
    for end in (server.stop, server.kill):
        end()
        server.start()
        await passes(check)


async def test_a_server_that_was_killed_fails_until_it_is_back(
    server: Server, driver: str, make: Make
) -> None:
    check = make(url_of(server, driver))
    await passes(check)
    server.kill()
    for _ in range(2):
        assert await failure_of(check) == (
            f"{HOST}:{server.port} refuses connections: is the server running, and is that its"
            " port?"
        )
    server.start()
    await passes(check)


async def test_a_server_that_stands_still_fails_until_it_goes_on_over_a_new_connection(
    server: Server, driver: str, make: Make
) -> None:
    check = make(url_of(server, driver))
    await passes(check)
    (first,) = connections(server)
    with server.frozen():
        await hangs(check, f"asking {HOST}:{server.port}")
        await hangs(check, f"connecting to {HOST}:{server.port}")
    await passes(check)
    assert await eventually(lambda: len(connections(server)) == 1)
    assert connections(server) != [first]


async def test_fifty_cancelled_runs_leave_nothing_behind(
    server: Server, driver: str, make: Make
) -> None:
    check = make(url_of(server, driver))
    await passes(check)
    with server.frozen():
        await hangs(check, f"asking {HOST}:{server.port}")
    await passes(check)
    gc.collect()
    gc.disable()  # what is left to the garbage collector is left behind
    try:
        before = resources()
        with server.frozen():
            began = time.monotonic()
            for number in range(50):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(check.run(), 0.001 * (number % 10))
            assert time.monotonic() - began < 5.0
        await passes(check)
        await nothing_more_than(before)
        assert await eventually(lambda: len(connections(server)) == 1)
    finally:
        gc.enable()
    gc.collect()  # asyncio logs now whatever nobody wanted to know


async def test_a_run_can_be_cancelled_at_any_step(server: Server, driver: str, make: Make) -> None:
    check = make(url_of(server, driver))
    for steps in range(60):
        run = asyncio.ensure_future(check.run())
        for _ in range(steps):
            await asyncio.sleep(0)
        run.cancel()
        await asyncio.wait([run], timeout=5.0)
        assert run.done()
    await passes(check)
    assert await eventually(lambda: len(connections(server)) == 1)
    gc.collect()


async def test_closing_gives_the_connection_back(server: Server, driver: str, make: Make) -> None:
    before = resources()
    check = make(url_of(server, driver))
    await passes(check)
    await check.close()
    assert await eventually(lambda: not connections(server))
    await nothing_more_than(before)


async def test_closing_does_not_wait_for_a_server_that_stands_still(
    server: Server, driver: str, make: Make
) -> None:
    check = make(url_of(server, driver))
    await passes(check)
    with server.frozen():
        await asyncio.wait_for(check.close(), 1.0)
    assert await eventually(lambda: not connections(server))

"""Real servers for the tests of the redis check, and what the check says of them."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from petsage_grpc.checks.redis import RedisCheck
from petsage_grpc.core.check import CheckFailedError
from tests import redis_servers
from tests.redis_servers import Cluster, RedisServer

SOON = 0.1
"""Seconds after which a run that is to time out does so."""
LONG = 10.0

Make = Callable[..., RedisCheck]


@pytest.fixture(scope="session", autouse=True)
def program() -> str:
    """Find the server, or say how to have it; where everything must be tested it must be there."""
    try:
        return redis_servers.redis_program()
    except redis_servers.MissingServerError as error:
        missing(str(error))
        raise


def missing(text: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(text)
    pytest.skip(text)


@pytest.fixture
def redis_7() -> None:
    if redis_servers.major_version() < 7:
        missing("an old Redis server: apt-get install redis-server")


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_servers.running() as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def starting_cluster(program: str) -> Iterator[Cluster]:
    """A cluster that comes up while other tests run: masters take no writes for two seconds."""
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture
def cluster(starting_cluster: Cluster) -> Cluster:
    """A cluster in good order, whatever the test before has done to it."""
    starting_cluster.settle()
    return starting_cluster


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Make checks that are closed when the test is over."""
    async with AsyncExitStack() as stack:

        def make(url: str = "", **settings: Any) -> RedisCheck:
            check = RedisCheck(url=url, **settings)
            stack.push_async_callback(check.close)
            return check

        yield make


def descriptors() -> int:
    """Count the files and connections that this process has open."""
    return len([*Path("/proc/self/fd").iterdir()])


async def passes(check: RedisCheck) -> None:
    await asyncio.wait_for(check.run(), LONG)


async def failure(check: RedisCheck) -> str:
    """Run a check that must fail at once; return what it says."""
    with pytest.raises(CheckFailedError) as failed:
        await asyncio.wait_for(check.run(), LONG)
    assert "\n" not in str(failed.value)
    return str(failed.value)


async def timeout(check: RedisCheck) -> str:
    """Run a check that must hang; return what it was waiting for."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(check.run(), SOON)
    return check.doing


async def passes_at_last(check: RedisCheck) -> None:
    """Run a check until it passes, as the monitor does."""
    async with asyncio.timeout(LONG):
        while True:
            try:
                return await passes(check)
            except CheckFailedError:
                await asyncio.sleep(0.02)

"""The check of kind grpc against the health service of grpc-go, as other backends have it."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from petsage_grpc.checks.grpc import GrpcCheck
from petsage_grpc.core.check import CheckFailedError
from tests import faults
from tests.clients.conftest import find
from tests.processes import PATIENCE

CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"


class GoServer:
    """A health server of grpc-go, and the events that it prints."""

    def __init__(self, *arguments: str, address: str = "127.0.0.1:0") -> None:
        self.process = subprocess.Popen(
            [find("health-server"), "-addr", address, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.address: str = self.event("listening")["address"]

    def event(self, name: str) -> dict[str, Any]:
        """Wait for the next event of that name."""
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            event: dict[str, Any] = json.loads(line)
            if event["event"] == name:
                return event
        pytest.fail(f"it has ended without: {name}")

    async def call(self, method: str) -> dict[str, list[str]]:
        """Wait for the next call of a method; return its metadata."""
        async with asyncio.timeout(PATIENCE):
            while (event := await asyncio.to_thread(self.event, "call"))["method"] != method:
                pass
        metadata: dict[str, list[str]] = event["metadata"]
        return metadata

    def set(self, status: str, name: str = "") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"set {name} {status}\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


Serve = Callable[..., GoServer]


@pytest.fixture
def go_server() -> Iterator[Serve]:
    """Start servers; they end with the test."""
    started: list[GoServer] = []

    def start(*arguments: str, address: str = "127.0.0.1:0") -> GoServer:
        started.append(GoServer(*arguments, address=address))
        return started[-1]

    yield start
    for server in started:
        server.kill()


class Turns:
    """Runs a check whenever it asks for that, and says what came out."""

    def __init__(self, check: GrpcCheck) -> None:
        self.check = check
        self._soon = asyncio.Event()
        check.run_soon = self._soon.set

    async def run(self) -> str:
        try:
            await asyncio.wait_for(self.check.run(), PATIENCE)
        except CheckFailedError as error:
            return str(error)
        return ""

    async def next(self) -> str:
        await asyncio.wait_for(self._soon.wait(), PATIENCE)
        self._soon.clear()
        return await self.run()


@pytest.fixture
async def turns() -> AsyncIterator[Callable[..., Turns]]:
    made: list[Turns] = []

    def make(address: str, **settings: Any) -> Turns:
        made.append(Turns(GrpcCheck(address=address, **settings)))
        return made[-1]

    yield make
    for one in made:
        await one.check.close()


async def test_each_change_of_the_server_is_known_when_it_happens(
    go_server: Serve, turns: Callable[..., Turns]
) -> None:
    server = go_server()
    told = turns(server.address)
    assert not await told.run()
    await server.call(WATCH)
    server.set("NOT_SERVING")
    assert await told.next() == (
        f"{server.address} says that it is NOT_SERVING: look there for the cause"
    )
    server.set("SERVING")
    assert not await told.next()


async def test_a_service_that_is_set_later_is_known_then(
    go_server: Serve, turns: Callable[..., Turns]
) -> None:
    server = go_server()
    told = turns(server.address, service="shop.Orders")
    assert 'does not know the service "shop.Orders"' in await told.run()
    await server.call(WATCH)
    server.set("SERVING", "shop.Orders")
    assert not await told.next()


async def test_a_killed_server_and_its_return_are_known_when_they_happen(
    go_server: Serve, turns: Callable[..., Turns]
) -> None:
    server = go_server()
    told = turns(server.address)
    assert not await told.run()
    await server.call(WATCH)
    server.set("NOT_SERVING")
    assert "NOT_SERVING" in await told.next()
    server.kill()
    assert "refuses connections" in await told.next()
    go_server(address=server.address)
    assert not await told.next()


async def test_a_server_that_is_stopped_is_found_out_and_passes_when_it_goes_on(
    go_server: Serve, turns: Callable[..., Turns]
) -> None:
    server = go_server()
    told = turns(server.address)
    assert not await told.run()
    with faults.stopped(server.process), pytest.raises(TimeoutError):
        await asyncio.wait_for(told.check.run(), 0.3)
    assert told.check.doing == f"waiting for {server.address} to answer"
    assert not await told.run()


async def test_a_server_without_watch_is_checked_all_the_same(
    go_server: Serve, turns: Callable[..., Turns]
) -> None:
    server = go_server("-no-watch")
    told = turns(server.address)
    assert not await told.run()
    await server.call(WATCH)
    assert await asyncio.to_thread(server.event, "end") == {
        "event": "end", "method": WATCH, "code": "Unimplemented",
    }  # fmt: skip
    server.set("NOT_SERVING")
    await asyncio.to_thread(server.event, "set")
    assert "says that it is NOT_SERVING" in await told.run()


async def test_tls_and_metadata_are_as_grpc_go_wants_them(
    go_server: Serve, turns: Callable[..., Turns], tmp_path: Path
) -> None:
    certificate, key = faults.write_certificate(tmp_path, host="orders.example")
    server = go_server("-tls-cert", str(certificate), "-tls-key", str(key))
    told = turns(
        server.address, tls=True, tls_ca_cert=str(faults.write_authority(tmp_path)),
        tls_server_name="orders.example", headers={"authorization": "Bearer 12345"},
        authority="shop.example",
    )  # fmt: skip
    told.check.backend = "stock"
    assert not await told.run()
    metadata = await server.call(CHECK)
    assert metadata[":authority"] == ["shop.example"]
    assert metadata["authorization"] == ["Bearer 12345"]
    assert metadata["petsage-hops"] == ["stock"]
    without = turns(server.address)
    assert "set tls = true if it speaks TLS" in await without.run()


async def test_the_server_sees_the_watch_end_when_the_check_is_closed(
    go_server: Serve, turns: Callable[..., Turns]
) -> None:
    server = go_server()
    told = turns(server.address)
    assert not await told.run()
    await server.call(WATCH)
    await told.check.close()
    ended = await asyncio.wait_for(asyncio.to_thread(server.event, "end"), PATIENCE)
    assert ended == {"event": "end", "method": WATCH, "code": "Canceled"}

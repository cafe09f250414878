"""Services that check each other: a cycle settles to what the rest of their checks give."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from petsage_grpc.checks.grpc import GrpcCheck
from petsage_grpc.plane.service import Service
from petsage_grpc.settings_load import load_settings
from tests.processes import PATIENCE
from tests.rpc.conftest import NOT_SERVING, SERVING, Serve, read_status

QUICK = {"interval": 0.1, "edge_interval": 0.05, "jitter": 0}
SLOW = {"interval": 60, "edge_interval": 0.05, "jitter": 0}


class Member:
    """One of some services: it checks others, and a directory that a test takes away."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.address = f"unix:{folder}/{name}.sock"
        self.directory = folder / name
        self.directory.mkdir()
        self.service: Service
        self.health: Any
        self._stack = AsyncExitStack()

    async def start(self, others: "Iterable[Member]", policy: dict[str, Any], backend: str) -> None:
        checks: dict[str, Any] = {
            other.name: {"kind": "grpc", "address": other.address} | policy for other in others
        }
        checks["disk"] = {"kind": "disk", "directory": str(self.directory), "min_free": 0} | QUICK
        settings = load_settings(environ={}, listen=self.address, checks=checks, backend=backend)
        self.service = await self._stack.enter_async_context(Service(settings))
        channel = await self._stack.enter_async_context(grpc.aio.insecure_channel(self.address))
        self.health = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]

    async def stop(self) -> None:
        await self._stack.aclose()

    def check(self, name: str) -> GrpcCheck:
        check = self.service.checks[name].check
        assert isinstance(check, GrpcCheck)
        return check

    async def ask(self, *metadata: tuple[str, str], name: str = "") -> tuple[int, str]:
        """Ask as others do; return the status, and where the answer is said to come from."""
        call = self.health.Check(health_pb2.HealthCheckRequest(service=name), metadata=metadata)
        status = (await call).status
        trailers = dict(await call.trailing_metadata())
        return status, trailers.get("petsage-reaches", "")

    async def becomes(self, status: int) -> None:
        async with asyncio.timeout(PATIENCE):
            call = self.health.Watch(health_pb2.HealthCheckRequest())
            while await read_status(call) != status:
                pass
            call.cancel()

    def break_disk(self) -> None:
        self.directory.rename(self.directory.with_suffix(".gone"))

    def mend_disk(self) -> None:
        self.directory.with_suffix(".gone").rename(self.directory)


Start = Callable[..., Awaitable[list[Member]]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start services of one letter each that check each other: "ab bc ca" is a ring of three."""
    members: list[Member] = []

    async def start_all(edges: str, policy: dict[str, Any] | None = None) -> list[Member]:
        pairs = edges.split()
        named = {name: Member(name, tmp_path) for name in sorted(set("".join(pairs)))}
        for name, member in named.items():
            members.append(member)
            others = [named[pair[1]] for pair in pairs if pair[0] == name]
            await member.start(others, policy or QUICK, f"backend-{name}")
        return list(named.values())

    yield start_all
    for member in members:
        await member.stop()


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the runs of all checks, by whom they ask."""
    counted: Counter[str] = Counter()
    run = GrpcCheck.run

    async def count(check: GrpcCheck) -> None:
        counted[check.address] += 1
        await run(check)

    monkeypatch.setattr(GrpcCheck, "run", count)
    return counted


@pytest.mark.parametrize(
    "edges", ["aa", "ab ba", "ab bc ca", "ab ac ba bc ca cb", "ab bc cb", "ab ba bc cd db"]
)
async def test_services_that_check_each_other_all_become_serving(start: Start, edges: str) -> None:
    for member in await start(edges):
        await member.becomes(SERVING)
        assert await member.ask() == (SERVING, "")


async def test_without_the_header_they_would_wait_for_each_other_for_ever(
    start: Start, runs: Counter[str]
) -> None:
    one, other = await start("ab ba")
    one.check("b").backend = other.check("a").backend = ""
    runs.clear()
    async with asyncio.timeout(PATIENCE):
        while min(runs[one.address], runs[other.address]) < 8:
            await asyncio.sleep(0.01)
    assert (await one.ask(), await other.ask()) == ((NOT_SERVING, ""), (NOT_SERVING, ""))


async def test_what_fails_in_one_of_two_fails_in_both_and_is_over_in_both(start: Start) -> None:
    one, other = await start("ab ba")
    for broken in (one, other):
        await one.becomes(SERVING)
        await other.becomes(SERVING)
        broken.break_disk()
        await one.becomes(NOT_SERVING)
        await other.becomes(NOT_SERVING)
        broken.mend_disk()
    await one.becomes(SERVING)
    await other.becomes(SERVING)


async def test_in_a_ring_who_asks_the_broken_one_fails_and_all_come_back(start: Start) -> None:
    first, second, broken = await start("ab bc ca")
    for member in (first, second, broken):
        await member.becomes(SERVING)
    broken.break_disk()
    await broken.becomes(NOT_SERVING)
    await second.becomes(NOT_SERVING)
    # What `second` says of `broken` leads back to `first`, so that it does not count for `first`.
    assert (await second.ask(("petsage-hops", "backend-a")))[0] == SERVING
    assert (await first.ask())[0] == SERVING
    broken.mend_disk()
    for member in (first, second, broken):
        await member.becomes(SERVING)


async def test_who_stands_outside_of_a_cycle_sees_all_of_it(start: Start) -> None:
    outside, one, other = await start("ab bc cb")
    await outside.becomes(SERVING)
    other.break_disk()
    await outside.becomes(NOT_SERVING)
    other.mend_disk()
    await outside.becomes(SERVING)
    assert (await one.ask())[0] == SERVING


async def test_one_that_comes_back_under_another_name_is_found_and_the_old_name_forgotten(
    start: Start,
) -> None:
    one, other = await start("ab ba")
    await one.becomes(SERVING)
    await other.becomes(SERVING)
    await other.stop()
    await one.becomes(NOT_SERVING)
    await other.start([one], QUICK, "backend-new")
    await one.becomes(SERVING)
    await other.becomes(SERVING)
    async with asyncio.timeout(PATIENCE):  # each still hears the old name from the other for long
        while one.check("b").distances != {"backend-new": 1, "backend-a": 2}:
            await asyncio.sleep(0.01)


async def test_a_cycle_that_has_settled_causes_no_storm(start: Start, runs: Counter[str]) -> None:
    members = await start("ab ac ba bc ca cb", SLOW)
    for member in members:
        await member.becomes(SERVING)
    runs.clear()
    members[0].break_disk()
    for member in members:
        await member.becomes(NOT_SERVING)
    members[0].mend_disk()
    for member in members:
        await member.becomes(SERVING)
    await asyncio.wait_for(quiet(runs), PATIENCE)
    # Two checks take `fall` and `rise` runs; the other four hear that something turns, and ask.
    assert runs.total() <= 2 * (3 + 2) + 4 * (1 + 2)


async def quiet(runs: Counter[str]) -> None:
    """Wait until nothing has been run for long, compared with the time from run to run."""
    before = -1
    while before != runs.total():
        before = runs.total()
        await asyncio.sleep(10 * SLOW["edge_interval"])


async def test_each_answer_to_a_check_says_where_it_comes_from(start: Start) -> None:
    first, *_ = await start("ab bc")
    await first.becomes(SERVING)
    check = first.check("b")
    assert check.distances == {"backend-b": 1, "backend-c": 2}
    assert check.reaches == {"backend-b", "backend-c"}
    asked = ("petsage-hops", "somebody")
    assert await first.ask(asked) == (SERVING, "backend-a=0,backend-b=1,backend-c=2")


async def test_an_unknown_name_is_answered_with_the_trailer_too(start: Start) -> None:
    first, *_ = await start("aa")
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await first.ask(("petsage-hops", "somebody"), name="nobody")
    assert failed.value.code() is grpc.StatusCode.NOT_FOUND
    trailers = failed.value.trailing_metadata()
    assert trailers is not None
    assert str(trailers["petsage-reaches"]).startswith("backend-a=0")


async def test_only_who_is_led_back_to_gets_another_answer(start: Start) -> None:
    first, second = await start("ab ba")
    await first.becomes(SERVING)
    await second.becomes(SERVING)
    second.break_disk()
    await first.becomes(NOT_SERVING)
    for hops in ("backend-b", "x, backend-b", "backend-b,backend-b", "?!,backend-b"):
        assert (await first.ask(("petsage-hops", hops)))[0] == SERVING
    assert (await first.ask(("petsage-hops", "x"), ("petsage-hops", "backend-b")))[0] == SERVING
    for hops in ("", "somebody", "backend", "Backend-b", "?!", "," * 1000, "x" * 4000):
        assert (await first.ask(("petsage-hops", hops)))[0] == NOT_SERVING
    others = ("x-backend", "backend-b"), ("petsage-hops", "somebody")
    assert (await first.ask(*others))[0] == NOT_SERVING
    assert await first.ask() == (NOT_SERVING, "")


async def test_watch_and_list_tell_everybody_the_same(start: Start) -> None:
    first, second = await start("ab ba")
    await first.becomes(SERVING)
    await second.becomes(SERVING)
    second.break_disk()
    await first.becomes(NOT_SERVING)
    asked = (("petsage-hops", "backend-b"),)
    call = first.health.Watch(health_pb2.HealthCheckRequest(), metadata=asked)
    assert await read_status(call) == NOT_SERVING
    call.cancel()
    listed = await first.health.List(health_pb2.HealthListRequest(), metadata=asked)
    assert listed.statuses[""].status == NOT_SERVING


async def test_a_service_that_drains_says_so_to_everybody(start: Start) -> None:
    first, second = await start("ab ba")
    await first.becomes(SERVING)
    await second.becomes(SERVING)
    first.service.plane.monitor.drain()
    assert (await first.ask(("petsage-hops", "backend-b")))[0] == NOT_SERVING
    await second.becomes(NOT_SERVING)


async def test_a_service_without_checks_of_others_takes_the_header_too(serve: Serve) -> None:
    backend = await serve(backend="alone")
    await backend.becomes(SERVING)
    call = backend.health.Check(
        health_pb2.HealthCheckRequest(), metadata=(("petsage-hops", "somebody"),)
    )
    assert (await call).status == SERVING
    assert dict(await call.trailing_metadata()) == {"petsage-reaches": "alone=0"}

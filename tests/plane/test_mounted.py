"""A plane that is mounted on the grpc.aio server of an application answers as any plane does."""

import asyncio
import threading
from concurrent import futures
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2

from petsage_grpc import Check, PlaneError
from petsage_grpc.rpc import stubs as pb
from tests.plane.application import (
    NOT_SERVING,
    ORDERS,
    SERVING,
    Status,
    make,
    serving,
)
from tests.processes import PATIENCE


async def test_a_watcher_sees_the_start_the_drain_and_the_end() -> None:
    async with serving(make(services=["petsage.v1.Bills"]), ORDERS) as app:
        names = ("", "readiness", ORDERS, "petsage.v1.Bills", "petsage.v1.SmokeTestService")
        watches = [app.watch(name) for name in names]
        assert {(await watch.read()).status for watch in watches} == {NOT_SERVING}
        async with app.plane:
            assert {(await watch.read()).status for watch in watches} == {SERVING}
            assert await app.check("startup") == SERVING
            app.plane.drain()
            assert {(await watch.read()).status for watch in watches} == {NOT_SERVING}
            assert await app.check("liveness") == SERVING
        assert {await watch.code() for watch in watches} == {grpc.StatusCode.UNAVAILABLE}
        assert await app.check() == NOT_SERVING


async def test_at_the_end_a_watcher_is_told_before_it_is_ended() -> None:
    async with serving(make()) as app:
        async with app.plane:
            watch = app.watch()
            assert (await watch.read()).status == SERVING
        assert (await watch.read()).status == NOT_SERVING
        assert await watch.code() is grpc.StatusCode.UNAVAILABLE
        call: Any = app.channel.unary_unary(f"/{ORDERS}/Order")
        assert await call(b"a") == b"aa", "the server is still the application's"


async def test_a_server_that_is_stopped_right_after_it_cuts_off_no_watcher() -> None:
    async with serving(make()) as app:
        async with app.plane:
            watches = [app.watch() for _ in range(1000)]
            assert {(await watch.read()).status for watch in watches} == {SERVING}
        await app.server.stop(None)
        assert {(await watch.read()).status for watch in watches} == {NOT_SERVING}
        assert {await watch.details() for watch in watches} == {"the service is stopping"}


async def test_without_grace_its_end_waits_for_no_watcher() -> None:
    async with serving(make()) as app:
        await app.plane.start()
        watch = app.watch()
        await watch.read()
        await app.plane.stop(grace=0.0)
        assert (await watch.read()).status == NOT_SERVING
        assert await watch.code() is grpc.StatusCode.UNAVAILABLE


async def test_checks_and_heartbeats_decide_and_stop_with_it() -> None:
    plane, loops = make(), []
    beat = plane.heartbeat("worker", max_silence=0.2)

    @plane.check("cache", interval=0.02, edge_interval=0.02)
    async def cache() -> None:
        loops.append(asyncio.get_running_loop())

    async with serving(plane) as app:
        async with plane:
            for _ in range(2):
                beating = asyncio.create_task(_again(beat))
                await app.becomes(SERVING)
                await app.becomes(SERVING, "liveness")
                beating.cancel()
                await app.becomes(NOT_SERVING, "liveness")
        assert set(loops) == {asyncio.get_running_loop()}
        answer = await app.smoke.SmokeTest(pb.SmokeTestRequest())
        assert [check.name for check in answer.checks] == ["worker", "cache"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


class Closing(Check):
    """A check that notes its end."""

    outside = False
    closed = False

    async def run(self) -> None: ...

    async def close(self) -> None:
        self.closed = True


async def test_at_the_end_the_checks_give_back_what_they_hold() -> None:
    plane, check = make(), Closing()
    plane.add_check("closing", check)
    async with serving(plane) as app:
        async with plane:
            await app.becomes(SERVING)
            assert not check.closed
        assert check.closed


async def test_an_end_that_is_cancelled_gives_it_back_as_well() -> None:
    plane, check = make(), Closing()
    plane.add_check("closing", check)
    async with serving(plane) as app:
        await plane.start()
        await app.becomes(SERVING)
        watch = app.watch()
        await watch.read()
        end = asyncio.create_task(plane.stop(grace=PATIENCE))
        await asyncio.sleep(0)
        end.cancel()
        with pytest.raises(asyncio.CancelledError):
            await end
        assert check.closed


async def _again(beat: Any) -> None:
    while True:
        beat()
        await asyncio.sleep(0.01)


async def test_a_pool_that_is_full_is_told_by_its_heartbeat() -> None:
    go_on = threading.Event()
    with futures.ThreadPoolExecutor(1) as pool:
        async with serving(make()) as app, app.plane:
            app.plane.pool_heartbeat("pool", pool, max_silence=0.2)
            await app.becomes(SERVING)
            pool.submit(go_on.wait)
            await app.becomes(NOT_SERVING)
            assert await app.check("liveness") == SERVING
            go_on.set()
            await app.becomes(SERVING)


async def test_its_loop_beats_by_itself() -> None:
    async with serving(make()) as app, app.plane:
        app.plane.loop_heartbeat(max_silence=5.0)
        await app.becomes(SERVING)


async def test_other_threads_may_speak_to_it() -> None:
    plane = make()
    plane.set("petsage.v1.Early", serving=True)
    async with serving(plane) as app, plane:
        assert await app.check("petsage.v1.Early") == SERVING
        watch = app.watch("petsage.v1.Bills")
        assert (await watch.read()).status == Status.SERVICE_UNKNOWN
        await asyncio.to_thread(plane.set, "petsage.v1.Bills", serving=True)
        assert (await watch.read()).status == SERVING
        await asyncio.to_thread(plane.drain)
        assert (await watch.read()).status == NOT_SERVING, "a word does not hold in a drain"
        await asyncio.to_thread(plane.clear, "petsage.v1.Bills")
        assert (await watch.read()).status == Status.SERVICE_UNKNOWN


async def test_what_is_said_on_its_own_loop_holds_at_once() -> None:
    plane = make()
    plane.set("readiness", serving=False, reason="not yet")
    async with serving(plane) as app, plane:
        assert plane._plane is not None
        assert plane._plane.names.read("").value == "NOT_SERVING"
        plane.clear("readiness")
        assert await app.check() == SERVING


async def test_it_has_one_life() -> None:
    async with serving(make()) as app:
        async with app.plane:
            with pytest.raises(PlaneError, match="make another one"):
                await app.plane.start()
        with pytest.raises(PlaneError, match="make another one"):
            await app.plane.start()
        await app.plane.stop()
        with pytest.raises(PlaneError, match="it has been stopped: make another one"):
            app.plane.set("a", serving=True, ttl=1.0)
        app.plane.drain()  # a second signal may come late


async def test_an_error_in_the_block_ends_it_as_well() -> None:
    async with serving(make()) as app:
        with pytest.raises(ZeroDivisionError):
            async with app.plane:
                raise ZeroDivisionError
        assert await app.check() == NOT_SERVING


async def test_who_asks_on_behalf_of_a_check_is_told_where_the_answer_comes_from() -> None:
    async with serving(make(backend="cats")) as app:
        call = app.health.Check(
            health_pb2.HealthCheckRequest(), metadata=[("petsage-hops", "dogs")], timeout=PATIENCE
        )
        await call
        assert dict(await call.trailing_metadata())["petsage-reaches"].startswith("cats")

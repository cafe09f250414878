"""The life of the service: it drains before it stops, and a second request to stop is heard."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from petsage_grpc.errors import BindError
from petsage_grpc.plane.service import Service
from petsage_grpc.rpc import stubs as pb
from petsage_grpc.settings_load import load_settings

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
FOR_EVER = {"drain_delay": 1000, "grace": 2000}


class Life:
    """A service that runs its whole life, with a client of it."""

    def __init__(self, service: Service, running: "asyncio.Task[None]") -> None:
        self.service = service
        self.running = running
        self.channel = grpc.aio.insecure_channel(service.addresses[0])
        self.health = health_pb2_grpc.HealthStub(self.channel)  # type: ignore[no-untyped-call]
        self.smoke = pb.SmokeTestServiceStub(self.channel)

    @classmethod
    async def begin(cls, **settings: object) -> "Life":
        given: dict[str, Any] = {"listen": "127.0.0.1:0", "checks": {}} | settings
        service = Service(load_settings(environ={}, **given))
        running = asyncio.create_task(service.run())
        while not service.addresses:
            await asyncio.sleep(0)
        return cls(service, running)

    async def statuses(self) -> dict[str, int]:
        response = await self.health.List(health_pb2.HealthListRequest())
        return {name: answer.status for name, answer in response.statuses.items()}

    async def drain(self) -> None:
        """Ask it to stop, and wait until its names say so."""
        watch = self.health.Watch(health_pb2.HealthCheckRequest())
        await watch.read()
        self.service.request_stop()
        assert (await watch.read()).status == NOT_SERVING
        watch.cancel()


@pytest.fixture
async def draining() -> AsyncIterator[Life]:
    """A service that drains for ever."""
    life = await Life.begin(**FOR_EVER)
    await life.drain()
    yield life
    life.service.request_stop()
    await life.running
    await life.channel.close()


async def test_a_drain_turns_readiness_at_once_and_keeps_liveness(draining: Life) -> None:
    assert await draining.statuses() == {
        "": NOT_SERVING,
        "readiness": NOT_SERVING,
        "petsage.v1.SmokeTestService": NOT_SERVING,
        "liveness": SERVING,
        "startup": SERVING,
    }


async def test_calls_are_served_in_a_drain_and_the_smoke_test_says_so(draining: Life) -> None:
    response = await draining.smoke.SmokeTest(pb.SmokeTestRequest())
    assert response.status == pb.STATUS_DEGRADED
    assert response.message == "PetSage Backend is shutting down."


async def test_watchers_stay_in_a_drain_and_are_ended_after_it() -> None:
    life = await Life.begin(drain_delay=0.05, grace=1000)
    watch = life.health.Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == SERVING
    life.service.request_stop()
    assert (await watch.read()).status == NOT_SERVING
    assert await watch.code() is grpc.StatusCode.UNAVAILABLE
    await life.running
    await life.channel.close()


async def test_a_second_request_stops_it_at_once() -> None:
    life = await Life.begin(**FOR_EVER)
    await life.drain()
    life.service.request_stop()
    await life.running
    await life.channel.close()


async def open_call(life: Life) -> "grpc.aio.StreamUnaryCall[bytes, bytes]":
    """Open a call that does not end by itself, for its request never comes."""
    method: grpc.aio.StreamUnaryMultiCallable[bytes, bytes] = life.channel.stream_unary(
        "/grpc.health.v1.Health/Check"
    )
    call = method()
    await call.wait_for_connection()
    await life.statuses()  # it has come behind the other by now
    return call


async def test_a_reflection_call_that_is_kept_open_does_not_hold_up_a_stop() -> None:
    life = await Life.begin(drain_delay=0, grace=2000)
    method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = life.channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    )
    call = method()
    for _ in range(2):
        await call.write(b"")
        assert await call.read() is not grpc.aio.EOF
    life.service.request_stop()
    await asyncio.wait_for(life.running, 10)
    assert await call.code() is grpc.StatusCode.OK
    await life.channel.close()


async def test_a_call_that_does_not_end_is_cancelled_when_the_grace_time_is_over() -> None:
    life = await Life.begin(drain_delay=0, grace=1.6)
    call = await open_call(life)
    life.service.request_stop()
    await asyncio.wait_for(life.running, 10)
    assert await call.code() is not grpc.StatusCode.OK
    await life.channel.close()


async def test_a_second_request_does_not_wait_for_calls_that_do_not_end() -> None:
    life = await Life.begin(drain_delay=0, grace=2000)
    call = await open_call(life)
    life.service.request_stop()
    while not life.service.plane.names.closed:
        await asyncio.sleep(0)
    assert not life.running.done()
    life.service.request_stop()
    await asyncio.wait_for(life.running, 10)
    assert await call.code() is not grpc.StatusCode.OK
    await life.channel.close()


async def test_a_request_before_it_listens_ends_it_after_a_drain() -> None:
    settings = load_settings(
        environ={}, listen="127.0.0.1:0", checks={}, drain_delay=0, grace=0.001
    )
    service = Service(settings)
    service.request_stop()
    await asyncio.wait_for(service.run(), 20)


async def test_a_port_that_is_taken_ends_the_run_with_an_error() -> None:
    life = await Life.begin(drain_delay=0, grace=0.001)
    settings = load_settings(environ={}, listen=life.service.addresses[0], checks={})
    with pytest.raises(BindError):
        await Service(settings).run()
    life.service.request_stop()
    await life.running
    await life.channel.close()


async def test_starting_and_stopping_again_and_again_leaves_no_task_behind() -> None:
    settings = load_settings(environ={}, listen="127.0.0.1:0", checks={})
    before = asyncio.all_tasks()
    for _ in range(20):
        async with (
            Service(settings) as service,
            grpc.aio.insecure_channel(service.addresses[0]) as channel,
        ):
            stub = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
            assert (await stub.Check(health_pb2.HealthCheckRequest())).status == SERVING
    assert asyncio.all_tasks() == before

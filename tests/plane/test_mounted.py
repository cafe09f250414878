"""A plane that is mounted on the grpc.aio server of an application answers on its one port."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator
from concurrent import futures
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from petsage_grpc import Check, MountedPlane, PlaneError, SettingsError
from petsage_grpc.rpc import stubs as pb
from tests.clients.conftest import find
from tests.plane.conftest import services_of
from tests.processes import PATIENCE

Status = health_pb2.HealthCheckResponse
SERVING, NOT_SERVING = Status.SERVING, Status.NOT_SERVING
ORDERS = "petsage.v1.Orders"
HEALTH = "grpc.health.v1.Health"


class Application:
    """A grpc.aio application with one port, and a client of it."""

    def __init__(self, plane: MountedPlane) -> None:
        self.plane = plane
        self.server = grpc.aio.server()
        methods: dict[str, Any] = {"Order": grpc.unary_unary_rpc_method_handler(_order)}
        handler = grpc.method_handlers_generic_handler(ORDERS, methods)
        self.server.add_generic_rpc_handlers((handler,))
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.channel = grpc.aio.insecure_channel(self.address)
        self.health = health_pb2_grpc.HealthStub(self.channel)  # type: ignore[no-untyped-call]
        self.smoke = pb.SmokeTestServiceStub(self.channel)

    async def check(self, name: str = "") -> int:
        request = health_pb2.HealthCheckRequest(service=name)
        return (await self.health.Check(request, timeout=PATIENCE)).status  # type: ignore[no-any-return]

    def watch(self, name: str = "") -> Any:
        return self.health.Watch(health_pb2.HealthCheckRequest(service=name), timeout=PATIENCE)

    async def becomes(self, status: int, name: str = "") -> None:
        """Wait until a name has the status."""
        watch = self.watch(name)
        assert status in [answer.status async for answer in _until(watch, status)]
        watch.cancel()


async def _until(watch: Any, status: int) -> AsyncIterator[Any]:
    async for answer in watch:
        yield answer
        if answer.status == status:
            return


async def _order(request: bytes, _: object) -> bytes:
    return request * 2


def make(**settings: Any) -> MountedPlane:
    return MountedPlane.from_settings(**({"checks": {}} | settings))


@contextlib.asynccontextmanager
async def serving(plane: MountedPlane, *services: str) -> AsyncIterator[Application]:
    """Run an application with a plane that has been mounted, but not begun."""
    application = Application(plane)
    plane.mount(application.server, services)
    await application.server.start()
    try:
        yield application
    finally:
        await plane.stop()
        await application.channel.close()
        await application.server.stop(PATIENCE)  # nothing of the plane may hold it up


async def grpcurl(*arguments: str) -> str:
    """Run grpcurl while this loop serves; return what it prints."""
    process = await asyncio.create_subprocess_exec(
        find("grpcurl"), "-plaintext", *arguments, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    return said.decode()


@pytest.mark.clients
async def test_grpcurl_finds_all_of_it_beside_the_applications_own_service() -> None:
    async with serving(make(), ORDERS) as app, app.plane:
        listed = (await grpcurl(app.address, "list")).split()
        assert listed == [
            "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection", ORDERS,
            "petsage.v1.SmokeTestService",
        ]  # fmt: skip
        asked = await grpcurl("-d", f'{{"service": "{ORDERS}"}}', app.address, f"{HEALTH}/Check")
        assert json.loads(asked) == {"status": "SERVING"}
        told = json.loads(await grpcurl(app.address, "petsage.v1.SmokeTestService/SmokeTest"))
        assert told["status"] == "STATUS_OK"
        call: Any = app.channel.unary_unary(f"/{ORDERS}/Order")
        assert await call(b"ab") == b"abab"


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


def reflect(app: Application) -> Any:
    """Begin a call of reflection."""
    stub = reflection_pb2_grpc.ServerReflectionStub(app.channel)  # type: ignore[no-untyped-call]
    return stub.ServerReflectionInfo()


async def test_without_the_setting_there_is_no_reflection() -> None:
    async with serving(make(reflection=False)) as app, app.plane:
        assert await reflect(app).code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("first", ["theirs", "ours"])
async def test_reflection_of_the_application_itself_is_left_alone(first: str) -> None:
    plane, app = make(), Application(make())
    if first == "ours":
        plane.mount(app.server)
    reflection.enable_server_reflection([ORDERS, HEALTH], app.server)  # type: ignore[no-untyped-call]
    if first == "theirs":
        plane.mount(app.server)
    await app.server.start()
    async with plane:
        assert await services_of(app.channel) == [HEALTH, ORDERS]
    await app.channel.close()
    await app.server.stop(None)


async def test_a_tool_that_keeps_reflection_open_does_not_hold_up_the_servers_stop() -> None:
    async with serving(make()) as app, app.plane:
        call = reflect(app)
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        await call.read()
        await app.plane.stop()
        assert await call.code() is grpc.StatusCode.OK


async def test_it_is_mounted_once_and_on_a_server_of_grpc_aio() -> None:
    plane, server = make(), grpc.aio.server()
    with pytest.raises(PlaneError, match=r"mounted: plane\.mount\(server\) first"):
        await plane.start()
    sync_server: Any = grpc.server(futures.ThreadPoolExecutor(1))
    with pytest.raises(TypeError, match=r"not on a grpc\._server\._Server; .* uses HealthPlane"):
        plane.mount(sync_server)
    plane.mount(server)
    with pytest.raises(PlaneError, match="has been mounted already"):
        plane.mount(grpc.aio.server())
    with pytest.raises(PlaneError, match="a plane on this server already"):
        make().mount(server)
    with pytest.raises(PlaneError, match="started"):
        plane.drain()


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


async def test_it_belongs_to_the_loop_on_which_it_was_mounted() -> None:
    plane = make()
    plane.mount(grpc.aio.server())
    with pytest.raises(PlaneError, match="on another event loop"):
        await asyncio.to_thread(asyncio.run, plane.start())


def test_it_is_not_mounted_where_no_loop_runs() -> None:
    loop = asyncio.new_event_loop()

    async def make_server() -> grpc.aio.Server:
        return grpc.aio.server()

    server = loop.run_until_complete(make_server())
    with pytest.raises(PlaneError, match="no event loop runs: mount it in an async function"):
        make().mount(server)
    loop.close()


async def test_a_service_without_a_name_is_refused() -> None:
    with pytest.raises(SettingsError, match="services: 'liveness' is no service: remove it"):
        make().mount(grpc.aio.server(), services=("liveness",))


def test_features_are_refused() -> None:
    with pytest.raises(SettingsError, match="features_package: a plane hosts no features"):
        make(features_package="myapp")


async def test_an_error_in_the_block_ends_it_as_well() -> None:
    async with serving(make()) as app:
        with pytest.raises(ZeroDivisionError):
            async with app.plane:
                raise ZeroDivisionError
        assert await app.check() == NOT_SERVING


async def test_a_stock_health_servicer_that_was_there_before_is_not_asked() -> None:
    plane = MountedPlane.from_settings(checks={"disk": {"kind": "disk", "directory": "/nowhere"}})
    app = Application(plane)
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(), app.server)  # type: ignore[no-untyped-call]
    plane.mount(app.server)
    async with plane:
        await app.server.start()
        assert await app.check() == NOT_SERVING
        assert await app.check("liveness") == SERVING
    await app.channel.close()
    await app.server.stop(None)


async def test_a_stock_health_servicer_that_comes_after_is_refused() -> None:
    plane = MountedPlane.from_settings(checks={})
    server = grpc.aio.server()
    plane.mount(server)
    with pytest.raises(PlaneError, match=f"{HEALTH} is served by the plane"):
        health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(), server)  # type: ignore[no-untyped-call]


async def test_who_asks_on_behalf_of_a_check_is_told_where_the_answer_comes_from() -> None:
    async with serving(make(backend="cats")) as app:
        call = app.health.Check(
            health_pb2.HealthCheckRequest(), metadata=[("petsage-hops", "dogs")], timeout=PATIENCE
        )
        await call
        assert dict(await call.trailing_metadata())["petsage-reaches"].startswith("cats")


async def test_one_name_is_no_list_of_names() -> None:
    plane = MountedPlane.from_settings(checks={})
    with pytest.raises(TypeError, match=r"services is a list of names: \['petsage"):
        plane.mount(grpc.aio.server(), services=ORDERS)
    with pytest.raises(SettingsError, match="services: 'liveness' is no service"):
        plane.mount(grpc.aio.server(), services=["liveness"])

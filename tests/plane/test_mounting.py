"""A plane is mounted beside what an application has on its server, or refused in clear words."""

import asyncio
import json
from concurrent import futures
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from petsage_grpc import MountedPlane, PlaneError, SettingsError
from tests.clients.conftest import find
from tests.plane.application import (
    HEALTH,
    NOT_SERVING,
    ORDERS,
    SERVING,
    Application,
    make,
    serving,
)
from tests.plane.conftest import services_of


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


async def test_one_name_is_no_list_of_names() -> None:
    plane = MountedPlane.from_settings(checks={})
    with pytest.raises(TypeError, match=r"services is a list of names: \['petsage"):
        plane.mount(grpc.aio.server(), services=ORDERS)
    with pytest.raises(SettingsError, match="services: 'liveness' is no service"):
        plane.mount(grpc.aio.server(), services=["liveness"])

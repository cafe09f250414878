"""The port for probes: Check alone, without TLS, beside the one that has it."""

import asyncio
import socket

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from petsage_grpc.errors import BindError
from petsage_grpc.plane.service import Service
from petsage_grpc.rpc.hops import HOPS
from tests.certificates import Secret
from tests.rpc.conftest import SERVING
from tests.rpc.tls.conftest import settings


async def test_the_port_for_probes_answers_check_alone_without_tls(secret: Secret) -> None:
    async with Service(settings(secret, mutual=True, probe_listen="127.0.0.1:0")) as service:
        (address,) = service.probe_addresses
        async with grpc.aio.insecure_channel(address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
            response = await stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
            assert response.status == SERVING
            with pytest.raises(grpc.aio.AioRpcError, match='unknown health name "nobody"'):
                await stub.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=10)
            call = stub.Check(health_pb2.HealthCheckRequest(), metadata=((HOPS, "them"),))
            assert (await call).status == SERVING
            assert await call.trailing_metadata()


@pytest.mark.parametrize(
    "path",
    [
        "/grpc.health.v1.Health/Watch", "/grpc.health.v1.Health/List", "/no.such/Method", "/",
        "/petsage.v1.SmokeTestService/SmokeTest",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream", "stream_stream"])
async def test_the_port_for_probes_says_of_all_else_where_it_is(
    secret: Secret, path: str, kind: str
) -> None:
    async with (
        Service(settings(secret, probe_listen="127.0.0.1:0")) as service,
        grpc.aio.insecure_channel(service.probe_addresses[0]) as channel,
    ):
        call = getattr(channel, kind)(path)(*([] if kind == "stream_stream" else [b""]))
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED
        assert await call.details() == (
            "this port is for probes and answers grpc.health.v1.Health/Check alone"
            " (probe_listen): ask the service's port with TLS (listen)"
        )


async def test_the_port_for_probes_drains_with_the_other(secret: Secret) -> None:
    given = settings(secret, probe_listen="127.0.0.1:0", drain_delay=20)
    service = Service(given)
    running = asyncio.create_task(service.run())
    while not service.probe_addresses:
        await asyncio.sleep(0)
    async with grpc.aio.insecure_channel(service.probe_addresses[0]) as channel:
        stub = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]

        async def asked(name: str = "") -> int:
            request = health_pb2.HealthCheckRequest(service=name)
            response = await stub.Check(request, wait_for_ready=True, timeout=10)
            return response.status  # type: ignore[no-any-return]

        assert await asked() == SERVING
        service.request_stop()
        while await asked() == SERVING:
            pass
        assert await asked("liveness") == SERVING
        service.request_stop()
        await running
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Check(health_pb2.HealthCheckRequest(), timeout=10)


async def test_a_taken_port_for_probes_is_an_error_that_names_the_setting(secret: Secret) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        service = Service(settings(secret, probe_listen=f"127.0.0.1:{port}"))
        with pytest.raises(BindError, match="probe_listen"):
            await service.start()
        await service.stop()

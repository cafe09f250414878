"""A grpc.aio application with one port, where a plane is mounted."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from petsage_grpc import MountedPlane
from petsage_grpc.rpc import stubs as pb
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

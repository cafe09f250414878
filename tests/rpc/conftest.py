"""A real service on a port of its own, whose one dependency is a directory that tests take away."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from petsage_grpc.plane.service import Service
from petsage_grpc.rpc import stubs
from petsage_grpc.settings_load import load_settings

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN

if TYPE_CHECKING:
    Watch = grpc.aio.UnaryStreamCall[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse]


async def read_status(call: "Watch") -> int:
    """Take the next status of a watch."""
    response = await call.read()
    assert isinstance(response, health_pb2.HealthCheckResponse), "the stream has ended"
    return response.status


class Backend:
    """A running service, its stubs, and the means to break and mend what it depends on."""

    def __init__(self, service: Service, channel: grpc.aio.Channel, directory: Path) -> None:
        self.service = service
        self.address = service.addresses[0]
        self.channel = channel
        self.health = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
        self.smoke = stubs.SmokeTestServiceStub(channel)
        self.directory = directory

    async def check(self, name: str = "") -> int:
        """Ask for the status of a name."""
        response = await self.health.Check(health_pb2.HealthCheckRequest(service=name))
        return response.status  # type: ignore[no-any-return]

    def call(self, path: str, raw: bytes) -> "grpc.aio.UnaryUnaryCall[bytes, bytes]":
        """Call any method with any bytes."""
        method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(path)
        return method(raw)

    def watch(self, name: str = "") -> "Watch":
        """Follow a name."""
        return self.health.Watch(health_pb2.HealthCheckRequest(service=name))  # type: ignore[no-any-return]

    async def becomes(self, status: int, name: str = "") -> None:
        """Wait until a name has the status."""
        call = self.watch(name)
        async for response in call:
            if response.status == status:
                break
        call.cancel()

    async def becomes_watchable(self) -> None:
        """Wait until there is a place for one more watcher."""
        while True:
            call = self.watch()
            try:
                await read_status(call)
            except grpc.aio.AioRpcError:
                continue  # the service has not noticed yet that another one left
            call.cancel()
            return

    async def break_disk(self) -> None:
        """Take the directory away, and wait until the service has noticed."""
        self.directory.rename(self._elsewhere)
        await self.becomes(NOT_SERVING)

    @property
    def _elsewhere(self) -> Path:
        return self.directory.with_name("elsewhere")

    async def mend_disk(self) -> None:
        """Bring the directory back, and wait until the service has noticed."""
        self._elsewhere.rename(self.directory)
        await self.becomes(SERVING)


Serve = Callable[..., Awaitable[Backend]]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Start services with these settings; they end with the test."""
    async with AsyncExitStack() as stack:
        started = 0

        async def start(*, policy: dict[str, Any] | None = None, **settings: Any) -> Backend:
            nonlocal started
            directory = tmp_path / f"dependency-{started}"
            directory.mkdir()
            started += 1
            times = {"interval": 0.05, "edge_interval": 0.02, "timeout": 10}
            disk = {"kind": "disk", "directory": str(directory), "min_free": 0}
            disk |= times | (policy or {})
            given = {"listen": "127.0.0.1:0", "checks": {"disk": disk}} | settings
            service = await stack.enter_async_context(Service(load_settings(environ={}, **given)))
            channel = await stack.enter_async_context(
                grpc.aio.insecure_channel(service.addresses[0])
            )
            return Backend(service, channel, directory)

        yield start


@pytest.fixture
async def backend(serve: Serve) -> Backend:
    """A service with a short interval, ready."""
    backend = await serve()
    await backend.becomes(SERVING)
    return backend

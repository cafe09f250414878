"""A real service on a port of its own, whose one dependency is a directory that tests take away.

What hosts it is said by the variable TEST_HOST: "service" if nothing is said, as it is run by
`serve`; "thread" or "process" for a HealthPlane, "mounted" for the application's own server.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from petsage_grpc import HealthPlane
from petsage_grpc.plane.mounted import MountedPlane
from petsage_grpc.plane.plane import Plane
from petsage_grpc.plane.service import Service
from petsage_grpc.plane.thread_host import ThreadHost
from petsage_grpc.rpc import stubs
from petsage_grpc.settings_load import load_settings

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN

if TYPE_CHECKING:
    Watch = grpc.aio.UnaryStreamCall[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse]


HOST: Final = os.environ.get("TEST_HOST", "service")
"""What hosts the service."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, for another host than the service, what would only be run once more."""
    here = Path(__file__).parent

    def differs(item: pytest.Item) -> bool:
        return here not in item.path.parents or "serve" in getattr(item, "fixturenames", ())

    if HOST != "service":
        config.hook.pytest_deselected(items=[item for item in items if not differs(item)])
        items[:] = [item for item in items if differs(item)]


async def read_status(call: "Watch") -> int:
    """Take the next status of a watch."""
    response = await call.read()
    assert isinstance(response, health_pb2.HealthCheckResponse), "the stream has ended"
    return response.status


async def end_of(call: "Watch") -> grpc.aio.AioRpcError:
    """Take what is left of a watch; return how it ends."""
    try:
        while True:
            await read_status(call)
    except grpc.aio.AioRpcError as error:
        return error


@dataclass
class Hosted:
    """A service that runs, whatever hosts it."""

    address: str
    stop: Callable[[], Awaitable[None]]
    plane: Plane | None
    """What is inside; None where that is in another process."""
    loop: asyncio.AbstractEventLoop | None
    """The event loop of that."""


@asynccontextmanager
async def in_service(given: dict[str, Any]) -> AsyncIterator[Hosted]:
    async with Service(load_settings(environ={}, **given)) as service:
        loop = asyncio.get_running_loop()
        yield Hosted(service.addresses[0], service.stop, service.plane, loop)


@asynccontextmanager
async def in_health_plane(
    given: dict[str, Any], *, isolation: Literal["thread", "process"]
) -> AsyncIterator[Hosted]:
    plane = HealthPlane.from_settings(isolation=isolation, **given)

    async def stop() -> None:
        await asyncio.to_thread(plane.stop)

    await asyncio.to_thread(plane.start)
    host, inside, loop = plane._host, None, None
    if isinstance(host, ThreadHost):
        inside, loop = host._plane, host._loop
    try:
        yield Hosted(plane.address, stop, inside, loop)
    finally:
        await stop()


@asynccontextmanager
async def mounted(given: dict[str, Any]) -> AsyncIterator[Hosted]:
    plane = MountedPlane.from_settings(**given)
    server = grpc.aio.server(
        options=[  # those are the application's, who gives them as Server does here
            ("grpc.max_receive_message_length", plane.settings.max_message_size),
            ("grpc.server.max_pending_requests", 100_000),
            ("grpc.server.max_pending_requests_hard_limit", 100_000),
        ]
    )
    plane.mount(server)
    port = server.add_insecure_port("127.0.0.1:0")

    async def stop() -> None:
        await plane.stop()
        await server.stop(0)

    async with plane:
        await server.start()
        yield Hosted(f"127.0.0.1:{port}", stop, plane._plane, asyncio.get_running_loop())
        await stop()


HOSTS: Final[dict[str, Callable[[dict[str, Any]], AbstractAsyncContextManager[Hosted]]]] = {
    "service": in_service,
    "thread": partial(in_health_plane, isolation="thread"),
    "process": partial(in_health_plane, isolation="process"),
    "mounted": mounted,
}


class Backend:
    """A running service, its stubs, and the means to break and mend what it depends on."""

    def __init__(self, hosted: Hosted, channel: grpc.aio.Channel, directory: Path) -> None:
        self.address = hosted.address
        self.stop = hosted.stop
        self.channel = channel
        self.health = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
        self.smoke = stubs.SmokeTestServiceStub(channel)
        self.directory = directory
        self._hosted = hosted

    @property
    def watched(self) -> set[str]:
        """The names that are watched, where one can look into the service."""
        plane = self._hosted.plane
        return set() if plane is None else set(plane.names._watchers)

    @property
    def tasks(self) -> "Iterable[asyncio.Task[Any]]":
        """The tasks of the service, where one can look into it."""
        loop = self._hosted.loop
        return () if loop is None else asyncio.all_tasks(loop)

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
            hosted = await stack.enter_async_context(HOSTS[HOST](given))
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(hosted.address))
            return Backend(hosted, channel, directory)

        yield start


@pytest.fixture
async def backend(serve: Serve) -> Backend:
    """A service with a short interval, ready."""
    backend = await serve()
    await backend.becomes(SERVING)
    return backend

"""Downstreams to check: a process that can be killed, and a server that does what a test says."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Self

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2

from petsage_grpc.checks.grpc import GrpcCheck
from petsage_grpc.core.check import CheckFailedError
from tests.faults import HOST, free_port
from tests.processes import PATIENCE
from tests.rpc.client.raw_servers import Answer, http2, raw_server

CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"

_STOCK = """
import sys
from concurrent import futures
import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

server = grpc.server(futures.ThreadPoolExecutor(4))
servicer = health.HealthServicer()
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
assert server.add_insecure_port(sys.argv[1])
server.start()
print("ready", flush=True)
for line in sys.stdin:
    name, _, status = line.rstrip("\\n").rpartition(" ")
    servicer.set(name, health_pb2.HealthCheckResponse.ServingStatus.Value(status))
    print("set", flush=True)
"""


class Stock:
    """The servicer of grpcio-health-checking in a process of its own, always on the same port."""

    def __init__(self) -> None:
        self.address = f"{HOST}:{free_port()}"
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _STOCK, self.address],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._line() == "ready"

    def set(self, status: str, name: str = "") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{name} {status}\n")
        self.process.stdin.flush()
        assert self._line() == "set"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def revive(self) -> None:
        if self.process.poll() is not None:
            self.start()
        self.set("SERVING")

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@pytest.fixture(scope="session")
def stock_process() -> Iterator[Stock]:
    process = Stock()
    yield process
    process.kill()


@pytest.fixture
def stock(stock_process: Stock) -> Stock:
    """The stock servicer, alive and SERVING."""
    stock_process.revive()
    return stock_process


class Downstream(grpc.GenericRpcHandler):
    """A server that answers what a test says, and keeps who called with which metadata.

    A status is answered, an error's code is aborted with; what is put into `changes` is sent to the
    Watch that is open, and an error's code ends it.
    """

    def __init__(self) -> None:
        self.answer: bytes | str | grpc.StatusCode = "SERVING"
        self.details = ""
        self.trailers: tuple[tuple[str, str], ...] = ()
        self.watchable = True
        self.greets = True
        """Whether a Watch is told the status at its begin."""
        self.changes: asyncio.Queue[str | grpc.StatusCode] = asyncio.Queue()
        self.calls: list[tuple[str, dict[str, str | bytes]]] = []
        self.sent = 0
        self.open_watches = 0
        self.called = asyncio.Event()
        self.ended = asyncio.Event()
        self.address = ""

    @contextlib.asynccontextmanager
    async def serving(self, place: str = f"{HOST}:0") -> AsyncIterator[Self]:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((self,))
        port = server.add_insecure_port(place)
        self.address = place if place.startswith("unix:") else f"{HOST}:{port}"
        await server.start()
        try:
            yield self
        finally:
            await server.stop(None)

    def count(self, method: str) -> int:
        return sum(called == method for called, _ in self.calls)

    def metadata(self, method: str) -> dict[str, str | bytes]:
        return next(metadata for called, metadata in reversed(self.calls) if called == method)

    async def watched(self, times: int = 1) -> None:
        """Wait until it has been asked to Watch so often."""
        async with asyncio.timeout(PATIENCE):
            while self.count(WATCH) < times:
                self.called.clear()
                await self.called.wait()

    def service(self, call: grpc.HandlerCallDetails) -> Any:
        self.calls.append((call.method, dict(call.invocation_metadata)))
        self.called.set()
        if call.method == CHECK:
            return grpc.unary_unary_rpc_method_handler(self._check)
        if call.method == WATCH and self.watchable:
            return grpc.unary_stream_rpc_method_handler(self._watch)
        return None

    async def _check(self, _: bytes, context: Any) -> bytes:
        context.set_trailing_metadata(self.trailers)
        if isinstance(self.answer, grpc.StatusCode):
            await context.abort(self.answer, self.details)
        return encoded(self.answer)

    async def _watch(self, _: bytes, context: Any) -> None:
        self.open_watches += 1
        try:
            if self.greets:
                await context.write(encoded(self.answer))
            while isinstance(change := await self.changes.get(), str):
                await context.write(encoded(change))
                self.sent += 1
            await context.abort(change, self.details)
        finally:
            self.open_watches -= 1
            self.ended.set()


def encoded(answer: "bytes | str | grpc.StatusCode") -> bytes:
    if isinstance(answer, bytes):
        return answer
    if isinstance(answer, grpc.StatusCode):
        answer = "SERVICE_UNKNOWN"
    response = health_pb2.HealthCheckResponse(status=answer)
    return response.SerializeToString()


@contextlib.asynccontextmanager
async def answering(answer: Answer, seen: list[dict[str, str]] | None = None) -> AsyncIterator[str]:
    """Speak HTTP/2 and answer each request so; its end does not hold the event loop up."""
    with contextlib.ExitStack() as stack:
        yield stack.enter_context(raw_server(http2(answer, seen)))
        await asyncio.to_thread(stack.pop_all().close)


@pytest.fixture
async def downstream() -> AsyncIterator[Downstream]:
    async with Downstream().serving() as served:
        yield served


class Heard:
    """Stands where the monitor does, and counts how often a check asks for a run."""

    def __init__(self) -> None:
        self.times = 0
        self._more = asyncio.Event()

    def __call__(self) -> None:
        self.times += 1
        self._more.set()

    async def wait(self, times: int = 1) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.times < times:
                self._more.clear()
                await self._more.wait()


MakeCheck = Callable[..., GrpcCheck]


@pytest.fixture
async def make() -> AsyncIterator[MakeCheck]:
    """Make checks that are closed with the test."""
    made: list[GrpcCheck] = []

    def make_one(address: object, **settings: Any) -> GrpcCheck:
        text = f"{HOST}:{address}" if isinstance(address, int) else str(address)
        made.append(GrpcCheck(address=text, **settings))
        return made[-1]

    yield make_one
    for check in made:
        await check.close()


async def failure(check: GrpcCheck) -> str:
    """Run a check that fails; return what it says."""
    with pytest.raises(CheckFailedError) as failed:
        await asyncio.wait_for(check.run(), PATIENCE)
    assert "\n" not in str(failed.value)
    return str(failed.value)


async def timed_out(check: GrpcCheck, within: float = 0.3) -> str:
    """Run a check that does not end in time, as the monitor does; return what it was doing."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(check.run(), within)
    return check.doing


def leftovers() -> set[str]:
    """Name the tasks of checks that have not ended."""
    return {task.get_name() for task in asyncio.all_tasks() if "petsage" in task.get_name()}

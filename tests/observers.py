"""Watches a service from outside, as its callers do, for benchmarks and demonstrations."""

import abc
import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import grpc.aio
from grpc_health.v1 import health_pb2

from petsage_grpc.core.policy import Policy
from petsage_grpc.rpc.stubs import STATUS_OK, SmokeTestRequest, SmokeTestServiceStub, Status

TOLERANCE = 0.05
"""Seconds that seeing a change may take, over the bound of the change itself."""
PATIENCE = 20.0
"""Seconds after which who should have answered has failed."""


def failing_bound(policy: Policy) -> float:
    """Say how many seconds after a fault a check has turned, whatever the fault is."""
    apart = max(policy.edge_interval, policy.timeout)
    return policy.interval + (policy.fall - 1) * apart + policy.timeout


def recovery_bound(policy: Policy) -> float:
    """Say how many seconds after the mend a check has turned, however long its run takes."""
    apart = max(policy.edge_interval, policy.timeout)
    return policy.interval + (policy.rise - 1) * apart + policy.timeout


@dataclass(frozen=True)
class Sight:
    """What somebody saw from a moment on."""

    at: float
    """When, in seconds of the monotonic clock."""
    healthy: bool
    words: str
    """What was said."""
    names: tuple[str, ...] = ()
    """The checks that were named as failing, where checks are told."""


class Observer(abc.ABC):
    """Asks a service what somebody would ask it, and keeps when the answer turned."""

    def __init__(self) -> None:
        self.sights: list[Sight] = []
        self._more = asyncio.Event()

    @abc.abstractmethod
    async def run(self) -> None:
        """Observe until cancelled."""

    def see(self, words: str, names: Sequence[str] = (), *, healthy: bool) -> None:
        """Keep what was seen, if it differs from what was seen before."""
        sight = Sight(time.monotonic(), healthy, words, tuple(names))
        last = self.sights[-1] if self.sights else None
        if last is None or (last.healthy, last.names) != (sight.healthy, sight.names):
            self.sights.append(sight)
            self._more.set()

    async def sight(self, number: int, until: float = float("inf")) -> Sight | None:
        """Wait for the sight of this number, at most until this moment of the monotonic clock."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(until - time.monotonic(), 10 * PATIENCE)):
                while len(self.sights) <= number:
                    self._more.clear()
                    await self._more.wait()
        return self.sights[number] if len(self.sights) > number else None


@contextlib.asynccontextmanager
async def observing(*observers: Observer) -> AsyncIterator[None]:
    """Let them observe during the block; the first one that can not ends it."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(observer.run()) for observer in observers]
        yield
        for task in tasks:
            task.cancel()


class Watcher(Observer):
    """Keeps a Watch open, as clients and load balancers do."""

    def __init__(self, address: str, service: str) -> None:
        super().__init__()
        self._address = address
        self._request = health_pb2.HealthCheckRequest(service=service).SerializeToString()

    async def run(self) -> None:
        async with grpc.aio.insecure_channel(self._address) as channel:
            watch: grpc.aio.UnaryStreamMultiCallable[bytes, bytes]
            watch = channel.unary_stream("/grpc.health.v1.Health/Watch")
            async for raw in watch(self._request):
                status = health_pb2.HealthCheckResponse.FromString(raw).status
                name = health_pb2.HealthCheckResponse.ServingStatus.Name(status)
                self.see(name, healthy=name == "SERVING")


class SmokeTester(Observer):
    """Asks for the smoke test again and again, as a dashboard does."""

    def __init__(self, address: str, period: float) -> None:
        super().__init__()
        self._address = address
        self._period = period

    async def run(self) -> None:
        async with grpc.aio.insecure_channel(self._address) as channel:
            stub = SmokeTestServiceStub(channel)
            while True:
                answer = await stub.SmokeTest(SmokeTestRequest(), timeout=PATIENCE)
                failing = [check for check in answer.checks if check.status != STATUS_OK]
                why = "".join(f": {check.name} ({check.detail})" for check in failing)
                words = Status.Name(answer.status).removeprefix("STATUS_") + why
                names = [check.name for check in failing]
                self.see(words, names, healthy=answer.status == STATUS_OK)
                await asyncio.sleep(self._period)


class Prober(Observer):
    """Runs a command that ends with 0 when all is well, as a kubelet probes: period by period."""

    def __init__(self, command: Sequence[str], period: float) -> None:
        super().__init__()
        self._command = command
        self._period = period

    async def run(self) -> None:
        while True:
            next_start = time.monotonic() + self._period
            out, both = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
            process = await asyncio.create_subprocess_exec(*self._command, stdout=out, stderr=both)
            try:
                said, _ = await process.communicate()
            except asyncio.CancelledError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
                raise
            self.see(said.decode().strip(), healthy=process.returncode == 0)
            await asyncio.sleep(max(0.0, next_start - time.monotonic()))

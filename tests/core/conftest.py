"""A monitor of checks that do what the test says, on a clock that the test moves."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from petsage_grpc.core.check import Check, CheckFailedError
from petsage_grpc.core.fold import make_rules
from petsage_grpc.core.monitor import Monitor
from petsage_grpc.core.names import Names
from petsage_grpc.core.policy import Policy
from petsage_grpc.core.status import Status, Verdict
from tests.conftest import ManualClock, settle


class Scripted(Check):
    """A check that does what the test says; it counts its runs and how many there are at once."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.gate: asyncio.Event | None = None  # when set, a run waits for it
        self.stubborn = False  # whether a waiting run ignores that it is cancelled
        self.runs = 0
        self.running = 0
        self.closed = 0

    async def run(self) -> None:
        self.runs += 1
        self.running += 1
        assert self.running == 1, "a second run beside the first"
        try:
            while self.gate is not None and not self.gate.is_set():
                self.doing = "waiting for the test"
                try:
                    await self.gate.wait()
                except asyncio.CancelledError:
                    if not self.stubborn:
                        raise
            if self.error is not None:
                raise self.error
        finally:
            self.running -= 1

    async def close(self) -> None:
        self.closed += 1


class Bench:
    """A monitor of one check called "it", or of some, on a clock that the test moves."""

    def __init__(
        self, clock: ManualClock, *, refresh_interval: float = 1.0, **checks: Policy
    ) -> None:
        policies = checks or {"it": Policy()}
        self.clock = clock
        self.checks = {name: Scripted() for name in policies}
        self.names = Names(clock.now)
        self.monitor = Monitor(
            {name: (self.checks[name], policy) for name, policy in policies.items()},
            make_rules({name: policy.gates for name, policy in policies.items()}, {}, []),
            self.names,
            clock,
            refresh_interval=refresh_interval,
            spread=lambda: 0.0,
        )

    @property
    def check(self) -> Scripted:
        return self.checks["it"]

    @property
    def ready(self) -> bool:
        return self.names.read("") is Status.SERVING

    @property
    def verdict(self) -> Verdict:
        return self.monitor.report(["it"]).checks[0].verdict

    async def fail(self, error: Exception | None = None) -> None:
        """Let it fail from now on, and let the failures settle."""
        self.check.error = error or CheckFailedError("broken")
        await self.clock.advance(12)


BenchMaker = Callable[..., Bench]


@pytest.fixture
async def bench_of(clock: ManualClock) -> AsyncIterator[BenchMaker]:
    made: list[Bench] = []

    def make(*, refresh_interval: float = 1.0, **checks: Policy) -> Bench:
        made.append(Bench(clock, refresh_interval=refresh_interval, **checks))
        return made[-1]

    yield make
    for bench in made:
        for check in bench.checks.values():
            if check.gate is not None:
                check.gate.set()
        await bench.monitor.stop()
        await settle()

"""What SmokeTest says in each state, on a clock moved by hand: no answer outlives its truth."""

from collections.abc import AsyncIterator

import pytest

from petsage_grpc.core.check import Check, CheckFailedError
from petsage_grpc.core.fold import make_rules
from petsage_grpc.core.monitor import Monitor
from petsage_grpc.core.names import Names
from petsage_grpc.core.policy import Policy
from petsage_grpc.rpc import stubs as pb
from petsage_grpc.rpc.smoke_test import SmokeTestServicer
from tests.conftest import ManualClock, settle

WELL = "All is well."


class Switch(Check):
    """A check that fails when the test says so."""

    failing = False

    async def run(self) -> None:
        if self.failing:
            raise CheckFailedError("broken")


class Bench:
    """A servicer over checks of these names, asked without a wire between."""

    def __init__(self, clock: ManualClock, gates: dict[str, tuple[str, ...]]) -> None:
        self.checks = {name: Switch() for name in gates}
        self.monitor = Monitor(
            {name: (self.checks[name], Policy(gates=gates[name])) for name in gates},
            make_rules(gates, {}, []),
            Names(clock.now),
            clock,
            spread=lambda: 0.0,
        )
        self.servicer = SmokeTestServicer(
            self.monitor, clock, message=WELL, version="1", instance="i", with_details=False
        )

    async def ask(self, *checks: str) -> pb.SmokeTestResponse:
        request = pb.SmokeTestRequest(checks=checks).SerializeToString()
        raw = await self.servicer._smoke_test(request, None)  # type: ignore[arg-type]
        return pb.SmokeTestResponse.FromString(raw)


@pytest.fixture
async def bench(clock: ManualClock) -> AsyncIterator[Bench]:
    made = Bench(clock, {"db": ("readiness",), "cache": ()})
    yield made
    await made.monitor.stop()


async def test_before_the_first_results_it_is_waking_up(bench: Bench) -> None:
    answer = await bench.ask()
    assert answer.status == pb.STATUS_FAILING
    assert answer.message == "PetSage Backend is waking up, no result yet of: db, cache."
    assert [check.message for check in answer.checks] == ["no result yet"] * 2
    assert not answer.checks[0].HasField("checked_at")


async def test_an_answer_is_not_kept_beyond_a_result_that_changes_it(
    bench: Bench, clock: ManualClock
) -> None:
    bench.monitor.start()
    await settle()
    assert (await bench.ask()).message == WELL
    bench.checks["cache"].failing = True
    await clock.advance(12)
    answer = await bench.ask()
    assert answer.status == pb.STATUS_DEGRADED
    assert answer.message == "PetSage Backend works, but not all is well: cache."
    bench.checks["db"].failing = True
    await clock.advance(12)
    answer = await bench.ask()
    assert answer.status == pb.STATUS_FAILING
    assert answer.message == "PetSage Backend is not well: db, cache."


async def test_an_answer_is_not_kept_beyond_the_time_that_its_results_are_believed(
    bench: Bench, clock: ManualClock
) -> None:
    bench.monitor.start()
    await settle()
    assert (await bench.ask()).status == pb.STATUS_OK
    clock.jump(31.9)
    assert (await bench.ask()).status == pb.STATUS_OK
    clock.jump(0.1)
    answer = await bench.ask()
    assert answer.status == pb.STATUS_FAILING
    assert [check.message for check in answer.checks] == ["the last result is stale"] * 2
    assert [check.status for check in answer.checks] == [pb.STATUS_FAILING] * 2


async def test_an_answer_is_not_kept_beyond_the_start_of_a_drain(bench: Bench) -> None:
    bench.monitor.start()
    await settle()
    assert (await bench.ask()).status == pb.STATUS_OK
    bench.monitor.drain()
    answer = await bench.ask()
    assert answer.status == pb.STATUS_DEGRADED
    assert answer.message == "PetSage Backend is shutting down."


async def test_each_answer_has_its_own_time(bench: Bench, clock: ManualClock) -> None:
    first = await bench.ask()
    clock.jump(1.5)
    second = await bench.ask()
    assert second.timestamp.ToNanoseconds() - first.timestamp.ToNanoseconds() == 1_500_000_000


async def test_some_checks_are_weighed_without_the_others(bench: Bench, clock: ManualClock) -> None:
    bench.checks["db"].failing = True
    bench.monitor.start()
    await settle()
    assert (await bench.ask()).status == pb.STATUS_FAILING
    assert (await bench.ask("db")).status == pb.STATUS_FAILING
    assert (await bench.ask("cache")).status == pb.STATUS_OK


async def test_of_many_broken_checks_only_some_are_named(clock: ManualClock) -> None:
    bench = Bench(clock, {f"c{number}": ("readiness",) for number in range(12)})
    for check in bench.checks.values():
        check.failing = True
    bench.monitor.start()
    await settle()
    answer = await bench.ask()
    assert answer.message.endswith("c8, c9 and 2 more.")
    assert len(answer.checks) == 12
    await bench.monitor.stop()


async def test_what_any_check_hides_is_in_no_detail_and_no_message(
    bench: Bench, clock: ManualClock
) -> None:
    bench.servicer = SmokeTestServicer(
        bench.monitor, clock, message=WELL, version="1", instance="i", with_details=True,
        redact=bench.checks["cache"].redact,
    )  # fmt: skip
    for secret in ("broken", "failed"):  # the other has no better password than a word of ours
        bench.checks["cache"].hide(secret)
    bench.checks["db"].failing = True
    bench.monitor.start()
    await settle()
    db, _ = (await bench.ask()).checks
    assert (db.message, db.detail, db.history[-1].detail) == ("***", "***", "***")
    assert "broken" not in str(db)

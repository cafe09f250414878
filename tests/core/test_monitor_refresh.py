"""Callers refresh what is too old, and share the runs; a report knows how long it holds."""

import asyncio

import pytest

from petsage_grpc.core.policy import Policy
from petsage_grpc.core.status import Health, Verdict
from petsage_grpc.core.units import Duration
from tests.conftest import ManualClock, settle
from tests.core.conftest import BenchMaker


async def test_a_refresh_moves_the_next_run_and_adds_none(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of()
    bench.monitor.start()
    await clock.advance(5)
    await bench.monitor.refresh(0)
    await clock.advance(9.9)
    assert bench.check.runs == 3
    await clock.advance(0.1)
    assert bench.check.runs == 4


async def test_refresh_runs_what_is_older_than_max_age(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of()
    bench.monitor.start()
    await clock.advance(5)
    await bench.monitor.refresh(4.0)
    assert bench.check.runs == 2
    await bench.monitor.refresh(3.9)
    assert bench.check.runs == 3


async def test_refresh_of_some_checks_leaves_the_others_alone(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of(it=Policy(), other=Policy())
    bench.monitor.start()
    await clock.advance(5)
    await bench.monitor.refresh(0, ["other"])
    assert (bench.checks["it"].runs, bench.checks["other"].runs) == (2, 3)


async def test_ten_thousand_callers_share_one_run(bench_of: BenchMaker, clock: ManualClock) -> None:
    bench = bench_of(
        it=Policy(timeout=Duration(60.0))
    )  # so many take a while on a machine that is shared
    bench.monitor.start()
    await clock.advance(5)
    bench.check.gate = asyncio.Event()
    callers = [asyncio.create_task(bench.monitor.refresh(0)) for _ in range(10_000)]
    await settle()
    assert not any(caller.done() for caller in callers)
    bench.check.gate.set()
    await asyncio.gather(*callers)
    assert bench.check.runs == 3


async def test_callers_cause_a_run_at_most_once_in_a_refresh_interval(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of()
    bench.monitor.start()
    await clock.advance(5)
    for _ in range(50):
        await bench.monitor.refresh(0)
        await clock.advance(0.1)
    assert bench.check.runs == 2 + 5


@pytest.mark.parametrize(("refresh", "edge"), [(5.0, 0.1), (0.1, 5.0)])
async def test_of_the_refresh_and_the_edge_interval_the_longer_one_keeps_callers_waiting(
    bench_of: BenchMaker, clock: ManualClock, refresh: float, edge: float
) -> None:
    bench = bench_of(refresh_interval=refresh, it=Policy(edge_interval=Duration(edge), rise=1))
    bench.monitor.start()
    await clock.advance(4.9)
    await bench.monitor.refresh(0)
    assert bench.check.runs == 1
    await clock.advance(0.2)
    await bench.monitor.refresh(0)
    assert bench.check.runs == 2


async def test_a_caller_that_gives_up_neither_ends_the_run_nor_fails_it(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of()
    bench.monitor.start()
    await clock.advance(5)
    bench.check.gate = asyncio.Event()
    impatient, patient = (asyncio.create_task(bench.monitor.refresh(0)) for _ in range(2))
    await settle()
    impatient.cancel()
    await settle()
    assert bench.check.running == 1
    bench.check.gate.set()
    await patient
    assert bench.verdict is Verdict.PASSING


async def test_refresh_ends_when_the_run_is_given_up(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of()
    bench.monitor.start()
    await clock.advance(5)
    bench.check.gate, bench.check.stubborn = asyncio.Event(), True
    waiting = asyncio.create_task(bench.monitor.refresh(0))
    await clock.advance(2)
    await waiting
    await bench.monitor.refresh(0)
    assert bench.check.runs == 3, "it still hangs: nobody waits for it, nobody starts it again"


async def test_a_report_is_current_until_something_happens_or_time_makes_it_untrue(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of()
    bench.monitor.start()
    await settle()
    first = bench.monitor.report()
    assert bench.monitor.is_current(first)
    clock.jump(31.9)
    assert bench.monitor.is_current(first)
    clock.jump(0.1)
    assert not bench.monitor.is_current(first)
    assert bench.monitor.report().health is Health.FAILING
    await bench.monitor.refresh(0)
    second = bench.monitor.report()
    bench.monitor.drain()
    assert not bench.monitor.is_current(second)
    third = bench.monitor.report()
    assert third.draining
    await bench.monitor.refresh(0)
    assert bench.monitor.is_current(third), "too soon for another run"
    await clock.advance(10)
    assert not bench.monitor.is_current(third)


async def test_a_name_that_is_no_check_is_a_key_error(bench_of: BenchMaker) -> None:
    bench = bench_of()
    with pytest.raises(KeyError, match="nothing"):
        bench.monitor.report(["nothing"])
    with pytest.raises(KeyError, match="nothing"):
        await bench.monitor.refresh(0, ["it", "nothing"])

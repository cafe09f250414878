"""Runs that time out or hang count as failures, never pile up, and do not hold up the stop."""

import asyncio

import pytest

from petsage_grpc.core.policy import Policy
from petsage_grpc.core.status import Verdict
from petsage_grpc.core.units import Duration
from tests.conftest import ManualClock, settle
from tests.core.conftest import BenchMaker


async def test_a_check_that_times_out_but_ends_then_is_asked_no_more_often_once_it_is_settled(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of()
    bench.check.gate = asyncio.Event()
    bench.monitor.start()
    await clock.advance(120)
    assert bench.check.runs == 3 + 11, "three until it is settled, then one in each interval"


async def test_a_run_over_its_timeout_fails_and_says_what_it_waited_for(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of(it=Policy(edge_interval=Duration(3)))
    bench.check.gate = asyncio.Event()
    bench.monitor.start()
    await clock.advance(2)
    last = bench.monitor.report().checks[0].last
    assert last is not None
    assert last.message == "timed out after 2s"
    assert last.detail == "timed out after 2s while waiting for the test"
    assert bench.check.running == 0, "it was cancelled"


async def test_a_run_that_hangs_is_counted_as_failing_and_never_started_again_until_it_ends(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of()
    bench.monitor.start()
    await clock.advance(1)
    bench.check.gate, bench.check.stubborn = asyncio.Event(), True
    await clock.advance(30)
    assert not bench.ready
    assert bench.check.runs == 3
    assert bench.monitor.quarantined == 1
    assert bench.verdict is Verdict.FAILING
    last = bench.monitor.report().checks[0].last
    assert last is not None
    assert "hangs since" in last.message
    bench.check.gate.set()
    await clock.advance(2.1)
    assert bench.ready, "freed, it is asked again at the edge interval"
    assert bench.monitor.quarantined == 0


async def test_a_result_that_comes_after_its_timeout_changes_nothing(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of()
    bench.check.gate, bench.check.stubborn = asyncio.Event(), True
    bench.monitor.start()
    await clock.advance(2.5)
    bench.check.gate.set()
    await settle()
    assert bench.verdict is Verdict.FAILING
    assert bench.monitor.report().checks[0].failures == 1


async def test_stop_ends_runs_and_timers_and_closes_the_checks(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of()
    bench.monitor.start()
    await settle()
    await bench.monitor.stop()
    await clock.advance(1000)
    assert (bench.check.runs, bench.check.closed) == (1, 1)


async def test_stop_ends_a_run_under_way_and_who_waits_for_it(bench_of: BenchMaker) -> None:
    bench = bench_of()
    bench.check.gate = asyncio.Event()
    bench.monitor.start()
    waiting = asyncio.create_task(bench.monitor.refresh(0))
    await settle()
    await bench.monitor.stop()
    await waiting
    assert (bench.check.running, bench.check.closed) == (0, 1)


async def test_stop_is_not_held_up_by_checks_that_do_not_close(
    bench_of: BenchMaker, caplog: pytest.LogCaptureFixture
) -> None:
    bench = bench_of(it=Policy(), other=Policy(), third=Policy())

    async def hang() -> None:
        await asyncio.Event().wait()

    async def fail() -> None:
        raise OSError("no way")

    bench.checks["it"].close = hang  # type: ignore[method-assign]
    bench.checks["other"].close = fail  # type: ignore[method-assign]
    await asyncio.wait_for(bench.monitor.stop(), 5)
    assert bench.checks["third"].closed == 1
    assert "check other did not close: OSError: no way" in caplog.text

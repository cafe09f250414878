"""When checks run, which states they get, and what the names and the log say of it."""

import asyncio

import pytest

from petsage_grpc.core.check import CheckFailedError
from petsage_grpc.core.fold import make_rules
from petsage_grpc.core.monitor import Monitor
from petsage_grpc.core.names import Names
from petsage_grpc.core.policy import Policy
from petsage_grpc.core.status import Health, Status, Verdict
from tests.conftest import ManualClock, settle
from tests.core.conftest import BenchMaker, Scripted


async def test_nothing_that_needs_a_check_is_serving_before_the_first_result(
    bench_of: BenchMaker,
) -> None:
    bench = bench_of()
    assert bench.names.read_all() == {
        "": Status.NOT_SERVING,
        "readiness": Status.NOT_SERVING,
        "liveness": Status.SERVING,
        "startup": Status.NOT_SERVING,
    }
    bench.monitor.start()
    await settle()
    assert set(bench.names.read_all().values()) == {Status.SERVING}


async def test_the_first_result_decides_at_once(bench_of: BenchMaker) -> None:
    bench = bench_of()
    bench.check.error = CheckFailedError("broken")
    bench.monitor.start()
    await settle()
    assert bench.verdict is Verdict.FAILING


async def test_a_check_runs_once_in_each_interval(bench_of: BenchMaker, clock: ManualClock) -> None:
    bench = bench_of()
    bench.monitor.start()
    await clock.advance(100)
    assert bench.check.runs == 11


async def test_the_jitter_makes_intervals_shorter_and_never_longer(clock: ManualClock) -> None:
    check, names = Scripted(), Names(clock.now)
    spread = iter([0.0, 0.5, 0.0, 1.0, 0.5])
    rules = make_rules({"it": ["readiness"]}, {}, [])
    policy = Policy(jitter=0.2, rise=1)
    monitor = Monitor({"it": (check, policy)}, rules, names, clock, spread=lambda: next(spread))
    monitor.start()
    for seconds, runs in [
        (9.9, 1),
        (0.1, 2),
        (8.9, 2),
        (0.1, 3),
        (9.9, 3),
        (0.1, 4),
        (7.9, 4),
        (0.1, 5),
    ]:
        await clock.advance(seconds)
        assert check.runs == runs
    await monitor.stop()


async def test_fall_failures_at_the_edge_interval_take_readiness_down_and_rise_brings_it_back(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of()
    bench.monitor.start()
    await clock.advance(5)
    bench.check.error = CheckFailedError("broken")
    await clock.advance(6 + 1.9)
    assert bench.ready
    await clock.advance(0.1)
    assert not bench.ready
    bench.check.error = None
    await clock.advance(10 + 0.9)
    assert not bench.ready
    await clock.advance(0.1)
    assert bench.ready


async def test_startup_stays_serving_once_every_check_has_passed(bench_of: BenchMaker) -> None:
    bench = bench_of()
    bench.monitor.start()
    await settle()
    await bench.fail()
    assert bench.names.read("startup") is Status.SERVING
    assert not bench.ready


async def test_a_check_that_cancels_itself_has_failed(bench_of: BenchMaker) -> None:
    bench = bench_of()
    bench.check.error = asyncio.CancelledError()
    bench.monitor.start()
    await settle()
    assert bench.verdict is Verdict.FAILING


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
async def test_a_check_can_not_end_the_loop(bench_of: BenchMaker, error: BaseException) -> None:
    bench = bench_of()
    bench.check.error = error
    bench.monitor.start()
    await settle()
    last = bench.monitor.report().checks[0].last
    assert last is not None
    assert last.detail == f"raised {error!r}"


async def test_any_exception_is_a_failure_and_its_text_is_the_detail(bench_of: BenchMaker) -> None:
    bench = bench_of()
    bench.check.error = ZeroDivisionError()
    bench.monitor.start()
    await settle()
    last = bench.monitor.report().checks[0].last
    assert last is not None
    assert (last.passed, last.message, last.detail) == (False, "failed", "ZeroDivisionError")


async def test_results_go_stale_by_the_clock_alone(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of()
    bench.monitor.start()
    await settle()
    assert bench.ready
    clock.jump(31.9)
    assert bench.ready
    clock.jump(0.1)
    assert not bench.ready, "no timer has been served since"
    await clock.advance(0)
    assert bench.ready, "the late run brings a fresh result"


async def test_watchers_learn_that_a_result_went_stale_when_the_schedule_is_stuck(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of()
    bench.monitor.start()
    await settle()
    stuck = bench.monitor._entries["it"].next_run
    assert stuck is not None
    stuck.cancel()
    with bench.names.watch("") as watcher:
        assert await watcher.next() is Status.SERVING
        waiting = asyncio.create_task(watcher.next())
        await clock.advance(31.9)
        assert not waiting.done()
        await clock.advance(0.1)
        assert await waiting is Status.NOT_SERVING


async def test_a_drain_takes_readiness_down_for_good_but_not_liveness_and_startup(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of()
    bench.monitor.start()
    await settle()
    bench.monitor.drain()
    for _ in range(3):
        assert bench.names.read_all() == {
            "": Status.NOT_SERVING,
            "readiness": Status.NOT_SERVING,
            "liveness": Status.SERVING,
            "startup": Status.SERVING,
        }
        await clock.advance(10)


async def test_a_check_without_gates_is_reported_and_takes_nothing_down(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of(it=Policy(gates=()), other=Policy())
    bench.check.error = CheckFailedError("broken")
    bench.monitor.start()
    await settle()
    assert bench.ready
    assert bench.monitor.report().health is Health.DEGRADED
    assert bench.monitor.report(["other"]).health is Health.OK
    assert [report.names for report in bench.monitor.report().checks] == [
        (),
        ("", "readiness", "startup"),
    ]


async def test_the_log_has_a_line_for_each_transition_and_each_first_failure_and_no_more(
    bench_of: BenchMaker, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    bench = bench_of()
    with caplog.at_level("INFO"):
        bench.monitor.start()
        await clock.advance(60)
        await bench.fail()
        await clock.advance(60)
    assert [record.message for record in caplog.records] == [
        "check it is passing, was pending",
        "check it failed: broken",
        "check it is failing, was passing: broken",
    ]

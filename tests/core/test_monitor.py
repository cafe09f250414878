"""When checks run, which states they get, and what the names and the log say of it."""

import asyncio
import random

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


async def test_a_check_that_hears_of_a_change_is_asked_at_once_but_not_too_often(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of()
    bench.monitor.start()
    await clock.advance(5)
    assert bench.check.runs == 2
    bench.check.run_soon()
    await clock.advance(0)
    assert bench.check.runs == 3
    for _ in range(101):
        bench.check.run_soon()
        await clock.advance(0.01)
    assert bench.check.runs == 4, "once more, an edge interval after the last"
    await clock.advance(9.9)
    assert bench.check.runs == 4
    await clock.advance(0.2)
    assert bench.check.runs == 5, "and in its interval again"


async def test_what_a_check_hears_while_it_runs_is_looked_at_after_it(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of()
    bench.monitor.start()
    await clock.advance(5)
    bench.check.gate = asyncio.Event()
    bench.check.run_soon()
    await clock.advance(0)
    bench.check.run_soon()
    bench.check.gate.set()
    await settle()
    assert bench.check.runs == 3
    await clock.advance(1)
    assert bench.check.runs == 4


async def test_many_checks_do_not_all_begin_in_one_moment(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of(**{f"check{number}": Policy() for number in range(100)})

    def begun() -> int:
        return sum(check.runs for check in bench.checks.values())

    bench.monitor.start()
    await settle()
    assert begun() == 10
    await clock.advance(0.05)
    assert begun() == 60
    await clock.advance(0.05)
    assert begun() == 100
    assert bench.ready


async def test_what_began_together_is_spread_over_the_interval(clock: ManualClock) -> None:
    names, chance = Names(clock.now), iter([0.0, 0.7, 0.0])
    policy, check = Policy(jitter=0.0, rise=1), Scripted()
    rules = make_rules({"it": ["readiness"]}, {}, [])
    monitor = Monitor({"it": (check, policy)}, rules, names, clock, spread=lambda: next(chance))
    next(chance)
    monitor.start()
    for seconds, runs in [(2.9, 1), (0.2, 2), (9.8, 2), (0.2, 3)]:
        await clock.advance(seconds)
        assert check.runs == runs
    await monitor.stop()


async def test_the_chance_of_the_application_is_left_alone(clock: ManualClock) -> None:
    names, policy, check = Names(clock.now), Policy(jitter=0.5, rise=1), Scripted()
    rules = make_rules({"it": ["readiness"]}, {}, [])
    before = random.getstate()
    monitor = Monitor({"it": (check, policy)}, rules, names, clock)
    monitor.start()
    await clock.advance(100)
    await monitor.stop()
    assert check.runs > 10
    assert random.getstate() == before


async def test_the_last_transitions_are_reported_with_their_reasons(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of()
    bench.monitor.start()
    await clock.advance(5)
    await bench.fail(CheckFailedError("no such table"))
    bench.check.error = None
    await clock.advance(20)
    history = bench.monitor.report().checks[0].history
    assert [(turned.verdict, turned.detail) for turned in history] == [
        (Verdict.PASSING, ""),
        (Verdict.FAILING, "no such table"),
        (Verdict.PASSING, ""),
    ]


async def test_what_is_hidden_of_a_check_is_neither_logged_nor_reported(
    bench_of: BenchMaker, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    bench = bench_of()
    bench.check.hide("s3cret!")
    bench.check.error = OSError("no login for u:s3cret! at db://u:s3cret%21@db/x\nbye s3cret!")
    bench.monitor.start()
    await settle()
    report = bench.monitor.report().checks[0]
    assert report.last is not None
    assert report.last.detail == r"OSError: no login for u:*** at db://***@db/x\nbye ***"
    assert "s3cret" not in caplog.text
    assert "s3cret" not in repr(report)


async def test_a_flapping_check_turns_its_names_no_more_often_than_fall_and_rise_allow(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of(it=Policy(fall=3, rise=2))
    bench.monitor.start()
    await clock.advance(5)
    seen: list[Status] = []

    async def follow() -> None:
        with bench.names.watch("readiness") as watcher:
            while True:
                seen.append(await watcher.next())

    following = asyncio.create_task(follow())
    for second in range(120):
        bench.check.error = CheckFailedError("broken") if second % 2 else None
        await clock.advance(1)
    following.cancel()
    assert seen == [Status.SERVING]

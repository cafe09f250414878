"""The monitor: when checks run, what becomes of runs that hang, and what the names say of it."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from petsage_grpc.core.check import Check, CheckFailedError
from petsage_grpc.core.fold import make_rules
from petsage_grpc.core.monitor import Monitor
from petsage_grpc.core.names import Names
from petsage_grpc.core.policy import Policy
from petsage_grpc.core.status import Health, Status, Verdict
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

    def __init__(self, clock: ManualClock, **checks: Policy) -> None:
        policies = checks or {"it": Policy()}
        self.clock = clock
        self.checks = {name: Scripted() for name in policies}
        self.names = Names(clock.now)
        self.monitor = Monitor(
            {name: (self.checks[name], policy) for name, policy in policies.items()},
            make_rules({name: policy.gates for name, policy in policies.items()}, {}, []),
            self.names,
            clock,
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

    def make(**checks: Policy) -> Bench:
        made.append(Bench(clock, **checks))
        return made[-1]

    yield make
    for bench in made:
        for check in bench.checks.values():
            if check.gate is not None:
                check.gate.set()
        await bench.monitor.stop()
        await settle()


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
    spread = iter([0.0, 1.0, 0.5])
    rules = make_rules({"it": ["readiness"]}, {}, [])
    policy = Policy(jitter=0.2)
    monitor = Monitor({"it": (check, policy)}, rules, names, clock, spread=lambda: next(spread))
    monitor.start()
    for seconds, runs in [(9.9, 1), (0.1, 2), (7.9, 2), (0.1, 3)]:
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
    await clock.advance(5 + 1.9)
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


async def test_a_check_that_times_out_but_ends_then_is_asked_no_more_often_once_it_is_settled(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of()
    bench.check.gate = asyncio.Event()
    bench.monitor.start()
    await clock.advance(120)
    assert bench.check.runs == 11, "twelve seconds each: the interval, and the timeout before it"


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


async def test_a_refresh_moves_the_next_run_and_adds_none(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of()
    bench.monitor.start()
    await clock.advance(5)
    await bench.monitor.refresh(0)
    await clock.advance(9.9)
    assert bench.check.runs == 2
    await clock.advance(0.1)
    assert bench.check.runs == 3


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
    assert "a check did not close: no way" in caplog.text


async def test_any_exception_is_a_failure_and_its_text_is_the_detail(bench_of: BenchMaker) -> None:
    bench = bench_of()
    bench.check.error = ZeroDivisionError()
    bench.monitor.start()
    await settle()
    last = bench.monitor.report().checks[0].last
    assert last is not None
    assert (last.passed, last.message, last.detail) == (False, "failed", "ZeroDivisionError")


async def test_a_run_over_its_timeout_fails_and_says_what_it_waited_for(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of()
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
    assert bench.check.runs == 2
    assert bench.verdict is Verdict.FAILING
    last = bench.monitor.report().checks[0].last
    assert last is not None
    assert "hangs since" in last.message
    bench.check.gate.set()
    await clock.advance(2.1)
    assert bench.ready, "freed, it is asked again at the edge interval"


async def test_a_result_that_comes_after_its_timeout_changes_nothing(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of()
    bench.check.gate, bench.check.stubborn = asyncio.Event(), True
    bench.monitor.start()
    await clock.advance(3)
    bench.check.gate.set()
    await settle()
    assert bench.verdict is Verdict.FAILING
    assert bench.monitor.report().checks[0].failures == 1


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


async def test_refresh_runs_what_is_older_than_max_age(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of()
    bench.monitor.start()
    await clock.advance(5)
    await bench.monitor.refresh(5.0)
    assert bench.check.runs == 1
    await bench.monitor.refresh(4.9)
    assert bench.check.runs == 2


async def test_refresh_of_some_checks_leaves_the_others_alone(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of(it=Policy(), other=Policy())
    bench.monitor.start()
    await clock.advance(5)
    await bench.monitor.refresh(0, ["other"])
    assert (bench.checks["it"].runs, bench.checks["other"].runs) == (1, 2)


async def test_ten_thousand_callers_share_one_run(bench_of: BenchMaker, clock: ManualClock) -> None:
    bench = bench_of()
    bench.monitor.start()
    await clock.advance(5)
    bench.check.gate = asyncio.Event()
    callers = [asyncio.create_task(bench.monitor.refresh(0)) for _ in range(10_000)]
    await settle()
    assert not any(caller.done() for caller in callers)
    bench.check.gate.set()
    await asyncio.gather(*callers)
    assert bench.check.runs == 2


async def test_callers_cause_a_run_at_most_once_in_a_refresh_interval(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of()
    bench.monitor.start()
    await clock.advance(5)
    for _ in range(50):
        await bench.monitor.refresh(0)
        await clock.advance(0.1)
    assert bench.check.runs == 1 + 5


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
    assert bench.check.runs == 2, "it still hangs: nobody waits for it, nobody starts it again"


async def test_a_name_that_is_no_check_is_a_key_error(bench_of: BenchMaker) -> None:
    bench = bench_of()
    with pytest.raises(KeyError, match="nothing"):
        bench.monitor.report(["nothing"])
    with pytest.raises(KeyError, match="nothing"):
        await bench.monitor.refresh(0, ["it", "nothing"])


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
        "check it is failing, was passing",
    ]

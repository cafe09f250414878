"""One check and its runs: what is late, what can not be shown, and what waits in line."""

import asyncio
from collections.abc import Callable

import pytest

from petsage_grpc.core.check import Check, CheckFailedError
from petsage_grpc.core.policy import Policy
from petsage_grpc.core.status import Verdict
from petsage_grpc.core.units import Duration
from tests.conftest import ManualClock, settle
from tests.core.conftest import Bench, BenchMaker


def detail(bench: Bench) -> str:
    last = bench.monitor.report().checks[0].last
    assert last is not None
    return last.detail


async def test_a_pass_from_before_a_suspend_is_no_pass(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of()
    bench.monitor.start()
    await clock.advance(5)
    bench.check.gate = asyncio.Event()
    waiting = asyncio.create_task(bench.monitor.refresh(0))
    await settle()
    clock.jump(3600)
    bench.check.gate.set()
    await settle()
    assert not bench.ready, "the run began an hour ago"
    assert detail(bench) == "timed out after 2s while waiting for the test"
    await clock.advance(2)
    await waiting
    assert bench.ready


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize("error", [UnspeakableError(), CheckFailedError(UnspeakableError())])
async def test_an_error_that_can_not_be_shown_stops_nothing(
    bench_of: BenchMaker, clock: ManualClock, error: Exception
) -> None:
    bench = bench_of()
    bench.monitor.start()
    await clock.advance(5)
    await bench.fail(error)
    assert bench.verdict is Verdict.FAILING
    assert detail(bench) == f"{type(error).__name__}, which can not be shown"
    await asyncio.wait_for(bench.monitor.refresh(0), 5)
    bench.check.error = None
    await clock.advance(12)
    assert bench.ready


async def test_a_kind_that_hides_nonsense_stops_nothing_and_tells_nothing(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of()
    with pytest.raises(TypeError, match="only a text can be hidden"):
        bench.check.hide(12345)  # type: ignore[arg-type]
    bench.check.secrets = {12345: "***"}  # type: ignore[dict-item]
    bench.monitor.start()
    await clock.advance(5)
    await bench.fail(CheckFailedError("the password is 12345"))
    assert bench.verdict is Verdict.FAILING
    assert detail(bench) == "what went wrong can not be shown: redact raised TypeError"


async def test_a_long_error_is_cut(bench_of: BenchMaker, clock: ManualClock) -> None:
    bench = bench_of()
    bench.check.error = CheckFailedError("x" * 5000)
    bench.monitor.start()
    await settle()
    assert detail(bench) == "x" * 1000 + "…"


async def test_a_long_error_is_not_cut_in_the_midst_of_a_word(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of()
    bench.check.error = CheckFailedError(f"{'x' * 900}\tlogin with {'y' * 100} failed")
    bench.monitor.start()
    await settle()
    assert detail(bench) == f"{'x' * 900}\\tlogin with …", "it could be half of a secret"


async def test_time_in_line_is_not_the_time_of_the_run(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of(it=Policy(timeout=Duration(2)))
    bench.check.gate = asyncio.Event()
    bench.monitor.start()
    await settle()
    bench.check.in_line(waiting=True)
    await clock.advance(20)
    assert bench.verdict is Verdict.PENDING, "it has not been given up"
    bench.check.in_line(waiting=False)
    await clock.advance(1.9)
    bench.check.gate.set()
    await settle()
    assert bench.ready


async def test_nobody_waits_in_line_for_longer_than_a_result_is_believed(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of(it=Policy(timeout=Duration(2)))
    bench.check.gate = asyncio.Event()
    bench.monitor.start()
    await settle()
    bench.check.in_line(waiting=True)
    await clock.advance(31.9)
    assert bench.check.running == 1
    await clock.advance(0.1)
    assert detail(bench) == "timed out after 32s while waiting for the test"
    bench.check.in_line(waiting=False)
    assert not bench.ready


async def test_who_has_been_given_up_is_not_let_in_again(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of()
    bench.check.gate, bench.check.stubborn = asyncio.Event(), True
    bench.monitor.start()
    await clock.advance(2)
    bench.check.in_line(waiting=True)
    bench.check.in_line(waiting=False)
    await clock.advance(30)
    assert bench.monitor.report().checks[0].failures > 3, "misses are counted, not begun anew"


async def test_the_next_run_is_an_interval_after_the_start_of_the_last(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of(it=Policy(rise=1, timeout=Duration(5)))
    bench.check.gate = asyncio.Event()
    bench.monitor.start()
    await clock.advance(4)
    bench.check.gate.set()
    await clock.advance(5.9)
    assert bench.check.runs == 1
    await clock.advance(0.1)
    assert bench.check.runs == 2


async def test_what_was_heard_in_quarantine_is_looked_at_when_it_ends(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of(it=Policy(rise=1, fall=1))
    bench.check.gate, bench.check.stubborn = asyncio.Event(), True
    bench.monitor.start()
    await clock.advance(3)
    bench.check.run_soon()
    bench.check.gate.set()
    await clock.advance(0)
    assert bench.check.runs == 2


@pytest.mark.parametrize("edge", [0.5, 20.0])
async def test_what_is_heard_is_looked_at_within_the_shorter_of_the_two_intervals(
    bench_of: BenchMaker, clock: ManualClock, edge: float
) -> None:
    bench = bench_of(it=Policy(edge_interval=Duration(edge), rise=1, fall=1))
    bench.monitor.start()
    await clock.advance(0.1)
    bench.check.run_soon()
    bench.check.run_soon()
    await clock.advance(min(edge, 10.0) - 0.2)
    assert bench.check.runs == 1
    await clock.advance(0.2)
    assert bench.check.runs == 2


async def test_callers_do_not_make_it_fall_faster_than_its_edge_interval(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench = bench_of(it=Policy(edge_interval=Duration(5), fall=3))
    bench.monitor.start()
    await clock.advance(20)
    bench.check.error = CheckFailedError("broken")
    for _ in range(80):
        assert bench.ready
        await bench.monitor.refresh(0)
        await clock.advance(0.1)
    assert bench.check.runs < 6


def closing(error: BaseException | None) -> Callable[[], object]:
    async def close() -> None:
        if error is not None:
            raise error

    return close


@pytest.mark.parametrize(
    "close",
    [closing(asyncio.CancelledError()), closing(OSError("no")), lambda: None],
    ids=["cancelled", "failing", "not async"],
)
async def test_no_check_keeps_the_others_from_closing(
    bench_of: BenchMaker, close: Callable[[], object], caplog: pytest.LogCaptureFixture
) -> None:
    bench = bench_of(it=Policy(), other=Policy())
    bench.checks["it"].close = close  # type: ignore[method-assign, assignment]
    await bench.monitor.stop()
    assert bench.checks["other"].closed == 1
    assert "check it did not close" in caplog.text


def test_a_check_of_its_own_waits_in_no_line() -> None:
    class Own(Check):
        async def run(self) -> None: ...

    Own().in_line(waiting=True)
    Own().run_soon()

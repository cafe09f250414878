"""The clock of the loop: calls in their order, late ones at once, and none that was dropped."""

import asyncio

import pytest

from petsage_grpc.core import clock as clock_module
from petsage_grpc.core.clock import LoopClock


async def test_calls_are_made_in_the_order_of_their_times_and_dropped_ones_never() -> None:
    clock, made, done = LoopClock(), list[str](), asyncio.Event()
    clock.call_later(0.03, lambda: made.append("third"))
    clock.call_later(0.01, lambda: made.append("first"))
    dropped = clock.call_later(0.0, lambda: made.append("dropped"))
    clock.call_later(0.02, lambda: made.append("second"))
    clock.call_later(0.04, done.set)
    dropped.cancel()
    await asyncio.wait_for(done.wait(), 5)
    assert made == ["first", "second", "third"]


async def test_calls_that_are_due_at_one_time_are_made_in_the_order_they_were_asked_for() -> None:
    clock, made, done = LoopClock(), list[int](), asyncio.Event()
    for number in range(5):
        clock.call_later(0, lambda number=number: made.append(number))  # type: ignore[misc]
    clock.call_later(0.001, done.set)
    await asyncio.wait_for(done.wait(), 5)
    assert made == [0, 1, 2, 3, 4]


async def test_a_call_that_raises_goes_to_the_loop_and_holds_up_no_other() -> None:
    clock, loop, done = LoopClock(), asyncio.get_running_loop(), asyncio.Event()
    told: list[BaseException | None] = []
    loop.set_exception_handler(lambda _, context: told.append(context.get("exception")))

    def fail() -> None:
        raise ZeroDivisionError

    clock.call_later(0, fail)
    clock.call_later(0, done.set)
    await asyncio.wait_for(done.wait(), 5)
    assert [type(error) for error in told] == [ZeroDivisionError]


async def test_what_fell_due_in_a_suspend_is_done_at_the_next_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    suspended = 0.0
    really = clock_module.boot_time
    monkeypatch.setattr(clock_module, "boot_time", lambda: really() + suspended)
    monkeypatch.setattr(clock_module, "_LONGEST_SLEEP", 0.01)
    clock, done = LoopClock(), asyncio.Event()
    clock.call_later(3600, done.set)
    suspended = 3600.0  # the loop's own clock knows nothing of it
    await asyncio.wait_for(done.wait(), 5)


async def test_it_does_not_run_when_nothing_is_waited_for() -> None:
    clock, done = LoopClock(), asyncio.Event()
    clock.call_later(0, done.set)
    clock.call_later(1000, lambda: None).cancel()
    await asyncio.wait_for(done.wait(), 5)
    await asyncio.sleep(0)
    assert clock._alarm is None


async def test_calls_that_were_dropped_do_not_pile_up() -> None:
    clock, done = LoopClock(), asyncio.Event()
    for _ in range(10_000):
        clock.call_later(86_400, lambda: None).cancel()
    assert len(clock._heap) < 500
    clock.call_later(0, done.set)
    await asyncio.wait_for(done.wait(), 5)

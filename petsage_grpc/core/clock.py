"""The clock that the monitor lives by, so that tests can move time by hand."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["Clock", "LoopClock", "Timer"]


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Drop the call; nothing happens when it has already been made."""


class Clock(Protocol):
    """Tells the time and calls back later. Times and delays are seconds."""

    def now(self) -> float:
        """Say the time of a clock that never jumps back."""

    def wall_time(self) -> float:
        """Say the seconds since 1970 (UTC), for people."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call back once, after `delay`."""


class LoopClock:
    """The clock of the running event loop.

    Where the system has a clock that goes on while it is suspended, `now` reads that one: results
    from before a suspend must not look young after it.
    """

    _CLOCK_ID = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def now(self) -> float:
        """Say the seconds since the machine started."""
        return time.clock_gettime(self._CLOCK_ID)

    def wall_time(self) -> float:
        """Say the seconds since 1970 (UTC)."""
        return time.time()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call back from the loop, once, after `delay` seconds."""
        return self._loop.call_later(delay, callback)

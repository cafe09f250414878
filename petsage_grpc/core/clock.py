"""The clock and the chance that the monitor lives by, so that tests can set both by hand."""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from functools import partial
from random import SystemRandom
from typing import Final, Protocol

__all__ = ["Clock", "LoopClock", "Timer", "boot_time", "chance"]

_CLOCK_ID: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

_LONGEST_SLEEP: Final = 1.0
"""Seconds after which the time is looked at again: the loop's own clock stands in a suspend."""

_FEW: Final = 100
"""Dropped calls that are not worth to be cleared away."""

boot_time: Final[Callable[[], float]] = partial(time.clock_gettime, _CLOCK_ID)
"""Says the seconds since the machine started, those in which it was suspended included.

No function of ours stands between: every beat of every heartbeat asks for it.
"""

chance: Final[Callable[[], float]] = SystemRandom().random
"""Says a number from 0 up to 1 by chance.

The generator of `random` is the application's, which may have seeded it, and workers that were
forked would all draw the same from it.
"""


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


class _Due:
    """A call that waits in the heap; without a callback it has been dropped."""

    __slots__ = ("_clock", "callback")

    def __init__(self, callback: Callable[[], None], clock: "LoopClock") -> None:
        self.callback: Callable[[], None] | None = callback
        self._clock = clock

    def cancel(self) -> None:
        if self.callback is not None:
            self.callback = None
            self._clock.dropped += 1


class LoopClock:
    """The clock of the running event loop.

    Where the system has a clock that goes on while it is suspended, this is that one: results from
    before a suspend must not look young after it, and what fell due meanwhile is done at once.
    """

    def __init__(self) -> None:
        self.now = boot_time
        """Says the seconds since the machine started."""
        self._loop = asyncio.get_running_loop()
        self._heap: list[tuple[float, int, _Due]] = []
        self._order = itertools.count()
        self._alarm: asyncio.TimerHandle | None = None
        self.dropped = 0
        """Calls in the heap that nobody waits for any more, or a few more than that."""

    def wall_time(self) -> float:
        """Say the seconds since 1970 (UTC)."""
        return time.time()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call back from the loop, once, after `delay` seconds."""
        if self.dropped > _FEW and 2 * self.dropped > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].callback is not None]
            heapq.heapify(self._heap)
            self.dropped = 0
        due = _Due(callback, self)
        entry = (self.now() + delay, next(self._order), due)
        heapq.heappush(self._heap, entry)
        if self._heap[0] is entry:
            self._set_alarm()
        return due

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        while self._heap and self._heap[0][2].callback is None:
            heapq.heappop(self._heap)
        if self._heap:
            delay = min(self._heap[0][0] - self.now(), _LONGEST_SLEEP)
            self._alarm = self._loop.call_later(delay, self._serve)

    def _serve(self) -> None:
        try:
            now = self.now()
            while self._heap and self._heap[0][0] <= now:
                callback = heapq.heappop(self._heap)[2].callback
                if callback is not None:
                    callback()
        finally:  # what a callback raises goes to the loop; the others keep their time
            self._set_alarm()

"""Has busy threads give way to the plane's sooner: each keeps the interpreter for a while."""

import contextlib
import os
import sys
import threading
from time import monotonic
from typing import Final

__all__ = ["SWITCH_INTERVAL", "ShortTurns", "SwitchInterval"]

_QUIET: Final = 1.0
"""Seconds without anything to do after which busy threads have their turns back."""


class SwitchInterval:
    """The longest time for which a thread keeps the interpreter from one that waits for it.

    It is the whole process's. Each plane in it asks for a short one while it has something to do,
    and the last gives back what was there, unless somebody else has changed it meanwhile.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a loop that is collected meanwhile gives back
        self._wanted: list[float] = []
        self._before = self._set = 0.0

    def shorten(self, seconds: float) -> None:
        """Make it so short at least; 0 leaves it as it is."""
        with self._lock:
            if not self._wanted:
                self._before = self._set = sys.getswitchinterval()
            self._wanted.append(seconds)
            self._apply()

    def give_back(self, seconds: float) -> None:
        """Take one such wish back."""
        with self._lock:
            with contextlib.suppress(ValueError):  # it was abandoned
                self._wanted.remove(seconds)
            self._apply()

    def abandon(self) -> None:
        """Take all wishes back in a child that was forked: no plane runs there."""
        self._lock = threading.RLock()
        self._wanted.clear()
        self._apply()

    def _apply(self) -> None:
        if sys.getswitchinterval() != self._set:  # it is somebody else's now
            return
        sys.setswitchinterval(min([self._before, *filter(None, self._wanted)]))
        self._set = sys.getswitchinterval()


SWITCH_INTERVAL: Final = SwitchInterval()
"""The one of this process."""

os.register_at_fork(after_in_child=SWITCH_INTERVAL.abandon)


class ShortTurns:
    """Those of busy threads while an event loop has something to do: they cost the threads time.

    Args:
        seconds: the switch interval that is wanted meanwhile; 0 leaves it as it is.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: float | None = None

    def take(self) -> None:
        """Have them short from now on: there is something to do."""
        if not self._seconds:
            return
        if self._until is None:
            SWITCH_INTERVAL.shorten(self._seconds)
        self._until = monotonic() + _QUIET

    def wait(self, timeout: float | None) -> float | None:
        """Say for how many of `timeout` seconds to wait before this is asked again."""
        if self._until is None:
            return timeout
        left = self._until - monotonic()
        if left <= 0:
            self.end()
            return timeout
        return left if timeout is None else min(timeout, left)

    def end(self) -> None:
        """Give back what was there."""
        if self._until is not None:
            self._until = None
            SWITCH_INTERVAL.give_back(self._seconds)

"""Has busy threads give way to the plane's sooner: each keeps the interpreter for a while."""

import os
import sys
import threading
from typing import Final

__all__ = ["SWITCH_INTERVAL", "SwitchInterval"]


class SwitchInterval:
    """The longest time for which a thread keeps the interpreter from one that waits for it.

    It is the whole process's. Each plane on a thread asks for a short one, and the last to end
    gives back what was there, unless somebody else has changed it meanwhile.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
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
            self._wanted.remove(seconds)
            self._apply()

    def abandon(self) -> None:
        """Take all wishes back in a child that was forked: no plane runs there."""
        self._lock = threading.Lock()
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

"""Gives memory back to the system, because the C library would keep that of a crowd for ever."""

import asyncio
import ctypes
import gc
from collections.abc import Callable
from typing import Final

__all__ = ["Crowd", "trim_memory"]

_CROWD: Final = 500
"""Calls whose memory is worth to be given back."""
_LEAVES: Final = 0.5
"""Seconds in which no more may end before the memory of a crowd is given back."""


class Crowd:
    """Sees to it that the system has back what a crowd of calls needed, once they have ended.

    Args:
        count: says how many calls there are.
    """

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._most = 0  # since memory was given back last

    def came(self) -> None:
        """Note that there is one more."""
        self._most = max(self._most, self._count())

    def left(self) -> None:
        """Note that there is one less."""
        if self._most >= _CROWD and self._count() < self._most / 2:
            self._most = 0  # it is looked after from here on
            asyncio.get_running_loop().call_later(_LEAVES, self._wait, self._count())

    def _wait(self, left_before: int) -> None:
        loop, left = asyncio.get_running_loop(), self._count()
        if left < left_before:
            loop.call_later(_LEAVES, self._wait, left)
        else:
            loop.run_in_executor(None, trim_memory)


def trim_memory() -> None:
    """Give freed memory back, where the C library is one that can: glibc."""
    gc.collect()  # empties the interpreter's free lists too
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)

"""Gives memory back to the system, because the C library would keep that of a crowd for ever."""

import ctypes
import gc
import resource
from pathlib import Path
from typing import Final

__all__ = ["Tidier", "resident", "trim_memory"]

_MANY_WATCHES: Final = 500
"""Those whose memory is worth to be given back when they have left."""
_FEW_WATCHES: Final = 50
"""As many may come and go between two looks where all is quiet."""
_QUIET_LOOKS: Final = 3
"""Looks in a row at which all is quiet, until a crowd or a flood is over."""
_MUCH: Final = 64 * 1024**2
"""Bytes more than before that are worth to be given back while a flood goes on."""


class Tidier:
    """Gives back what a crowd or a flood needed, once it is over, and within it."""

    def __init__(self) -> None:
        self._most = 0  # since memory was given back last
        self._held = 0
        self._quiet = 0
        self._crowded = False
        self._untidy = False
        self._resident = 0  # what was left when memory was given back last

    def look(self, held: int, *, is_busy: bool, hung_up: bool) -> None:
        """Look, some times a second.

        Args:
            held: watches that there are.
            is_busy: whether many calls have come since the last look.
            hung_up: whether somebody has been hung up on since.
        """
        self._most = max(self._most, held)
        self._crowded = self._crowded or hung_up or self._most - held >= _MANY_WATCHES
        self._untidy = self._untidy or is_busy or self._crowded
        is_quiet = not is_busy and not hung_up and abs(held - self._held) < _FEW_WATCHES
        self._quiet = self._quiet + 1 if is_quiet else 0
        self._held = held
        if self._untidy and self._quiet >= _QUIET_LOOKS:
            self._trim(collect=self._crowded)
            self._most, self._untidy, self._crowded = held, False, False
        elif is_busy:
            self._resident = self._resident or resident()
            if resident() - self._resident >= _MUCH:
                self._trim(collect=False)

    def _trim(self, *, collect: bool) -> None:
        trim_memory(collect=collect)
        self._resident = resident()


def resident() -> int:
    """Say how many bytes of memory this process has; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def trim_memory(*, collect: bool) -> None:
    """Give freed memory back, where the C library is one that can: glibc.

    Args:
        collect: whether to look for garbage before; that holds the interpreter for a while.
    """
    if collect:
        gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)

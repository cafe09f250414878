"""Memory that the application and its plane's process share: the times of the last heartbeats."""

import fcntl
import mmap
import os
import tempfile
from collections.abc import MutableSequence
from pathlib import Path
from typing import Final, Self

__all__ = ["APPLICATION", "MOST_CELLS", "PLANE", "Cells", "above_standard"]

_SIZE: Final = 8
"""Bytes of a time: one write to memory, so that no half of one is ever read."""
_TIMES: Final = 2
"""Those of a cell."""

_STANDARD_ERROR: Final = 2

MOST_CELLS: Final = 1_024
APPLICATION: Final = 0
"""The cell of the application's process itself."""
PLANE: Final = 1
"""The cell of the plane's process."""


def above_standard(descriptor: int) -> int:
    """Move a descriptor out of the places of the standard streams, which a child gets anew."""
    if descriptor > _STANDARD_ERROR:
        return descriptor
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _STANDARD_ERROR + 1)
    os.close(descriptor)
    return moved


class Cells:
    """Pairs of times, in seconds since the machine started, for several processes.

    Args:
        descriptor: of the memory; it is closed with the last reference to the cells.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._view = memoryview(mmap.mmap(descriptor, MOST_CELLS * _TIMES * _SIZE)).cast("d")

    @classmethod
    def make(cls) -> Self:
        """Make new ones, all zero."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("petsage-heartbeats")
        else:
            descriptor, path = tempfile.mkstemp(prefix="petsage-heartbeats-")
            Path(path).unlink()
        descriptor = above_standard(descriptor)
        os.ftruncate(descriptor, MOST_CELLS * _TIMES * _SIZE)
        return cls(descriptor)

    def __getitem__(self, number: int) -> MutableSequence[float]:
        """Give one cell, as a sequence of its times."""
        return self._view[_TIMES * number :][:_TIMES]  # type: ignore[return-value]  # it is like one

    def close(self) -> None:
        """Close the descriptor; the memory lasts as long as a cell of it is used."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:  # a second time it may be somebody else's
            os.close(descriptor)

"""Keeps the interpreter for a moment between the events of a call: busy threads would take it."""

import ctypes
import selectors
import socket
import sys
from time import monotonic
from typing import Final

from petsage_grpc.plane.switching import ShortTurns

__all__ = ["StayingSelector", "StayingSocket"]

_STAY: Final = 0.0003
"""Seconds for which it keeps the interpreter at most while nothing happens."""
_SHARE: Final = 0.2
"""The part of the time that this may take, whatever clients do: the rest is the application's."""
_LINUX: Final = sys.platform == "linux"
_POLLIN: Final = 1
_C: Final = ctypes.PyDLL(None)
"""The C library; unlike the functions of Python, those called by it keep the interpreter."""


class _Descriptor(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("found", ctypes.c_short))


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class StayingSelector(selectors.DefaultSelector):
    """A selector that waits a little before it lets other threads run, where that is Linux.

    grpc tells of one call by several events, a fraction of a millisecond apart. Whoever waits for
    them as usual hands the interpreter over each time, and beside n busy threads gets it back after
    n switch intervals. This one hands it over once for a call, and never while there is work.

    Args:
        switch_interval: seconds that busy threads may keep the interpreter while there is
            something to do, and a little longer; 0 leaves it to them.
    """

    def __init__(self, switch_interval: float = 0.0) -> None:
        super().__init__()
        self._turns = ShortTurns(switch_interval)
        self._descriptor = ctypes.byref(_Descriptor(self.fileno(), _POLLIN))
        self._left = 0.0
        self._counted = 0.0
        self._stays = False

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for what is ready, as `select` of any selector does."""
        if timeout is not None and timeout <= 0:
            return super().select(0) if not _LINUX or self._is_ready(0.0) else []
        if self._stays:
            self._stay(timeout)
        found = super().select(self._turns.wait(timeout))
        if found:
            self._turns.take()
        self._stays = _LINUX and bool(found)
        return found

    def close(self) -> None:
        """Close it, as any selector."""
        self._turns.end()
        super().close()

    def _stay(self, timeout: float | None) -> None:
        """Wait until something happens, for the time that it may keep the interpreter."""
        began = monotonic()
        self._left = min(_STAY, self._left + (began - self._counted) * _SHARE)
        self._is_ready(self._left if timeout is None else min(timeout, self._left))
        self._counted = monotonic()
        self._left -= self._counted - began

    def _is_ready(self, seconds: float) -> bool:
        limit = _Timespec(0, max(0, int(seconds * 1e9)))
        return bool(_C.ppoll(self._descriptor, 1, ctypes.byref(limit), None) == 1)


class StayingSocket(socket.socket):
    """A socket that does not let other threads run while it reads what is there already."""

    __slots__ = ()

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Read as `socket.socket.recv` does."""
        buffer = ctypes.create_string_buffer(bufsize)
        received = _C.recv(self.fileno(), buffer, bufsize, flags | socket.MSG_DONTWAIT)
        return super().recv(bufsize, flags) if received < 0 else buffer.raw[:received]

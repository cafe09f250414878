"""Asks Linux for short turns: who computes little is then let in at once beside who computes a lot.

See sched(7) and the attribute `sched_runtime` of sched_setattr(2), which Linux 6.12 keeps to.
"""

import contextlib
import ctypes
import os
import platform
import struct
import sys
from typing import Final

__all__ = ["ask_for_short_turns"]

_SHORTEST: Final = 100_000
"""Nanoseconds."""
_SCHED_SETATTR: Final = {"x86_64": 314, "aarch64": 274}
"""The number of the system call; the C library knows it by name only lately."""
_ATTRIBUTES: Final = struct.Struct("IIQiIQQQ")
"""Size, policy, flags, nice, priority, runtime, deadline, period."""


def ask_for_short_turns() -> None:
    """Ask for this thread and for those that it starts from now on.

    It needs no privilege and gives no more time in all. Where it is refused, or not known, and for
    a thread that has been given a policy of its own, nothing changes.
    """
    number = _SCHED_SETATTR.get(platform.machine())
    if sys.platform != "linux" or number is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    size = _ATTRIBUTES.size
    wanted = _ATTRIBUTES.pack(size, os.SCHED_OTHER, 0, nice, 0, _SHORTEST, 0, 0)
    with contextlib.suppress(OSError):  # no C library to be found
        ctypes.CDLL(None).syscall(number, 0, wanted, 0)

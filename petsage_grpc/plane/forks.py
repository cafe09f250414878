"""Knows whether this process was forked while grpc was at work: it does not work here then."""

import contextlib
import os
import sys
import threading
from pathlib import Path
from typing import Final

from petsage_grpc.errors import PlaneError

__all__ = ["refuse_after_fork"]

_ITS_THREADS: Final = ("(_poll_wrapper)", "(_serve)")
"""How the names of grpc's Python threads end: that of grpc.aio, and that of a sync server."""
_CORE_THREADS: Final = frozenset({"event_engine", "grpc_global_tim", "lifeguard"})
"""The names of threads of grpc's core."""
_NO: Final = ("0", "false", "no", "n", "f")

_at_work = False
"""Whether grpc was at work when this process forked last."""
_broken = False
"""Whether it was when this process, or one before it, was forked off."""


def refuse_after_fork() -> None:
    """Raise PlaneError when grpc can not work in this process."""
    if _broken:
        raise PlaneError(
            "grpc was at work in this process's parent when it was forked, so that a plane on a"
            " thread would hang here: fork before anything uses grpc, start workers by spawn, or"
            ' use isolation="process"'
        )


def _grpc_at_work() -> bool:
    """Say whether a fork now leaves a grpc behind that does not work in the child.

    grpc prepares itself for a fork, but not while a thread waits in it, and not when told not to.
    """
    if "grpc" not in sys.modules:
        return False
    if any(thread.name.endswith(_ITS_THREADS) for thread in threading.enumerate()):
        return True
    own = threading.get_ident()
    for thread, frame in sys._current_frames().items():
        if thread != own and str(frame.f_globals.get("__name__")).startswith("grpc."):
            return True
    unprepared = os.environ.get("GRPC_ENABLE_FORK_SUPPORT", "").lower() in _NO
    return unprepared and not _CORE_THREADS.isdisjoint(_thread_names())


def _thread_names() -> set[str]:
    """Name the threads of this process, where the system tells."""
    found = set()
    with contextlib.suppress(OSError):
        for task in Path("/proc/self/task").iterdir():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                found.add((task / "comm").read_text().strip())
    return found


def _before() -> None:
    global _at_work  # noqa: PLW0603 -- one process, one fork at a time
    _at_work = _grpc_at_work()


def _after() -> None:
    global _broken  # noqa: PLW0603 -- one process, one answer
    _broken = _broken or _at_work


os.register_at_fork(before=_before, after_in_child=_after)

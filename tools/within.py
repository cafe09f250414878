"""Runs a command for at most so many seconds, and ends what it leaves behind: no build hangs.

A test process that crashes leaves the servers that it has started, and whoever waits for all that
a build has started would wait for ever.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Final

_BE_PARENT_OF_ORPHANS: Final = 36
"""PR_SET_CHILD_SUBREAPER."""
_TOO_LONG: Final = 124
"""How timeout(1) ends, too."""
_SIGNALLED: Final = 128
"""How shells end after a signal, with its number added."""
_POLL: Final = 0.05


def run(seconds: float, command: list[str]) -> int:
    """Run it; return how it ended."""
    # Whoever starts in the background ignores it, and so would all that the tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    ctypes.CDLL(None).prctl(_BE_PARENT_OF_ORPHANS, 1)
    try:
        pid = os.posix_spawnp(command[0], command, os.environ)
        ended = _wait(pid, seconds)
        if ended is None:
            _tell(f"{' '.join(command)} has not ended within {seconds:g} s, and is ended")
            return _TOO_LONG
        return ended if ended >= 0 else _SIGNALLED - ended
    finally:
        _end_all()


def _leave(number: int, _: "FrameType | None") -> None:
    sys.exit(_SIGNALLED + number)


def _wait(pid: int, seconds: float) -> int | None:
    """Wait for its end, and take note of that of every orphan."""
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        ended, how = os.waitpid(-1, os.WNOHANG)
        if ended == pid:
            return os.waitstatus_to_exitcode(how)
        if not ended:
            time.sleep(_POLL)
    return None


def _end_all() -> None:
    """Kill every child; theirs become ours, until none is left that we may kill."""
    others = set[int]()
    while children := _children() - others:
        for pid in children:
            words = _command(pid)
            try:
                os.kill(pid, signal.SIGKILL)
            except PermissionError:
                others.add(pid)
                _tell(f"{pid} is left behind, and another user's: {words}")
            else:
                os.waitpid(pid, 0)
                if words:
                    _tell(f"{pid} is left behind, and ended: {words}")


def _children() -> set[int]:
    found = set[int]()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[1]) == os.getpid():
                found.add(int(folder.name))
    return found


def _command(pid: int) -> str:
    """Say what it runs; nothing of one that has ended."""
    return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ").strip()


def _tell(words: str) -> None:
    sys.stderr.write(f"within: {words}\n")


if __name__ == "__main__":
    sys.exit(run(float(sys.argv[1]), sys.argv[2:]))

"""Runs a command for at most so many seconds, and ends what it leaves behind: no build hangs.

A test process that crashes leaves the servers that it has started, and whoever waits for all that
a build has started would wait for ever.
"""

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

_BE_PARENT_OF_ORPHANS: Final = 36
"""PR_SET_CHILD_SUBREAPER."""
_TOO_LONG: Final = 124
"""How timeout(1) ends, too."""


def run(seconds: float, command: list[str]) -> int:
    """Run it; return how it ended."""
    # Whoever starts in the background ignores it, and so would all that the tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ctypes.CDLL(None).prctl(_BE_PARENT_OF_ORPHANS, 1)
    process = subprocess.Popen(command)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        _tell(f"{' '.join(command)} has not ended within {seconds:g} s, and is ended")
        return _TOO_LONG
    finally:
        _end_all()


def _end_all() -> None:
    """Kill every child; theirs become ours, until none is left."""
    while children := _children():
        for pid in children:
            if words := _command(pid):
                _tell(f"{pid} is left behind, and ended: {words}")
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _children() -> list[int]:
    me = os.getpid()
    try:
        return [int(pid) for pid in Path(f"/proc/{me}/task/{me}/children").read_text().split()]
    except FileNotFoundError:  # a kernel that does not tell: they stay
        return []


def _command(pid: int) -> str:
    """Say what it runs; nothing of one that has ended."""
    return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ").strip()


def _tell(words: str) -> None:
    sys.stderr.write(f"within: {words}\n")


if __name__ == "__main__":
    ended = run(float(sys.argv[1]), sys.argv[2:])
    sys.exit(ended if ended >= 0 else 128 - ended)

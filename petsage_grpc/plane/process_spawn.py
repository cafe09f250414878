"""Starts the plane's process, and sees to its end: no copy of this one, no zombie, no signal."""

import asyncio
import contextlib
import multiprocessing.spawn
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

from petsage_grpc.errors import PlaneError
from petsage_grpc.plane.cells import above_standard

__all__ = ["end_of", "leave_signals_alone", "socket_pair", "spawn", "working_directory"]

_LOOK_EVERY: Final = 0.01
"""Seconds from look to look whether a process has ended."""
_CHILD: Final = "petsage_grpc.plane.child"
_MASKED: Final = (
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip
"""The signals that are the application's: the plane's process ends with it, and not before."""


def leave_signals_alone() -> None:
    """Let the present thread, and each process that it starts, hear none of those signals."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _MASKED)


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Make both ends of a link. Raises PlaneError when none can be had."""
    try:
        ours, theirs = socket.socketpair()
    except OSError as error:
        raise PlaneError(f"there can be no link to the plane's process: {error}") from None
    return ours, socket.socket(fileno=above_standard(theirs.detach()))


def working_directory() -> str:
    """Say where this process works; nothing if that is gone."""
    try:
        return str(Path.cwd())
    except OSError:
        return ""


def _path() -> str:
    """Write the places where modules are found, so that another process finds the same."""
    places = []
    for place in sys.path:
        with contextlib.suppress(OSError, TypeError):  # a directory that is gone, or no text
            places.append(str(Path(place).absolute()))
    return os.pathsep.join(places)


def spawn(link: int, cells: int, directory: str) -> "subprocess.Popen[bytes]":
    """Start the process: anew, and not as a copy of this one, whose threads it would lack.

    Args:
        link: descriptor of its end of the link.
        cells: descriptor of the memory that both share.
        directory: where it works, as long as there is such a one.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": _path(),
        "PYTHONSAFEPATH": "1",
        "GRPC_VERBOSITY": "NONE",
    }
    executable = multiprocessing.spawn.get_executable()
    if not executable:
        raise PlaneError(
            "the interpreter's program is not known: name it with multiprocessing.set_executable()"
        )
    command = [os.fsdecode(executable), "-m", _CHILD, str(link), str(cells), str(os.getpid())]
    try:
        return subprocess.Popen(  # noqa: S603 -- it is this very program
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, close_fds=True,
            pass_fds=(link, cells), env=environment, process_group=0,
            cwd=directory if os.path.isdir(directory) else None,  # noqa: PTH112 -- "" is none
        )  # fmt: skip
    except OSError as error:
        raise PlaneError(f"the plane's process can not be started: {error}") from None


async def _code_of(process: "subprocess.Popen[bytes]") -> int:
    while True:
        if (code := process.poll()) is not None:
            return code
        await asyncio.sleep(_LOOK_EVERY)


async def end_of(process: "subprocess.Popen[bytes]", patience: float) -> str:
    """Wait for the end of a process, or kill it after so many seconds; say how it ended."""
    # Looked for without a thread of the loop's pool: none can be had when the interpreter ends.
    try:
        code = await asyncio.wait_for(_code_of(process), patience)
    except TimeoutError:
        process.kill()
        code = await _code_of(process)
    return f"signal {-code}" if code < 0 else f"exit code {code}"

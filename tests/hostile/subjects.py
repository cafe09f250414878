"""The servers that are attacked, each a process: the service as users run it, and the reference."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from tests.faults import HOST, free_port
from tests.processes import PATIENCE, clean_environment, served, settings_file

__all__ = [
    "GIVES_BACK", "REFERENCE", "Body", "Subject", "complaints", "reference", "service",
    "wait_until",
]  # fmt: skip

REFERENCE: Final = Path(__file__).parents[2] / "benchmarks" / "reference_aio.py"
GIVES_BACK: Final = {
    "PYTHONMALLOC": "malloc", "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0",
}  # fmt: skip
"""The variables with which `make serve` and deploy/ run it: allocators keep little for later."""

_POLL: Final = 0.02
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_IDLE: Final = 0.5
"""The part of a core below which a server is idle: onlookers go on asking it."""
_BAD: Final = re.compile(
    r"\b(WARNING|ERROR|CRITICAL)\b|Traceback|Exception|Task was destroyed|Fatal"
)
_EXPLAINED: Final = (r"evicted \d+ watchers", r"petsage_grpc\.limits: ", "a peer sent a ")
"""Lines above INFO that an attack may cause, each of which says just what happened."""


def wait_until(holds: Callable[[], bool], limit: float) -> bool:
    """Wait until something holds, at most so many seconds; say whether it does."""
    give_up = time.monotonic() + limit
    while not holds():
        if time.monotonic() > give_up:
            return False
        time.sleep(_POLL)
    return True


@dataclass(frozen=True)
class Body:
    """What a process has of what is not endless."""

    resident: float
    """MiB in memory."""
    peak: float
    """The most MiB in memory since `Subject.forget_peak`."""
    descriptors: int
    threads: int
    idle: bool = True
    """Whether it has worked off what was asked of it."""

    @classmethod
    def of(cls, pid: int, *, watched: float = 0.0) -> Self:
        """Look at a process; for so many seconds, to see whether it is idle."""
        before = _cpu_seconds(pid)
        time.sleep(watched)
        idle = not watched or _cpu_seconds(pid) - before <= _IDLE * watched
        words = Path(f"/proc/{pid}/status").read_text()
        found = re.findall(r"^(\w+):\s+(\d+)", words, re.MULTILINE)
        read = {key: int(value) for key, value in found}
        if "VmRSS" not in read:
            raise ProcessLookupError(f"{pid} has ended")
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 -- there are thousands
        return cls(read["VmRSS"] / 1024, read["VmHWM"] / 1024, descriptors, read["Threads"], idle)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


class Subject:
    """A server under attack.

    Args:
        name: how the tables call it.
        address: where it listens.
        process: what runs it.
        lines: what it has printed; it grows.
        names: health names that are SERVING all the time.
    """

    def __init__(
        self, name: str, address: str, process: "subprocess.Popen[str]", lines: list[str],
        names: Sequence[str],
    ) -> None:  # fmt: skip
        self.name = name
        self.address = address
        self.process = process
        self.lines = lines
        self.names = names

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def body(self, *, watched: float = 0.0) -> Body:
        return Body.of(self.process.pid, watched=watched)

    def forget_peak(self) -> None:
        """Have the most memory counted from now on."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def complaints(self, since: int = 0, explained: Sequence[str] = ()) -> list[str]:
        """Find the lines of its log that should not be there."""
        return complaints(self.lines[since:], explained)


def complaints(lines: Sequence[str], explained: Sequence[str] = ()) -> list[str]:
    """Find the lines of a log that should not be there."""
    pattern = re.compile("|".join([*_EXPLAINED, *explained]))
    return [line for line in lines if _BAD.search(line) and not pattern.search(line)]


@contextlib.contextmanager
def service(folder: Path, *settings: str) -> Iterator[Subject]:
    """Run the service with these lines of settings, as `make serve` does, until the block's end."""
    config = str(settings_file(folder, *settings))
    with served("--config", config, **GIVES_BACK) as running:
        address, process, lines = running.address, running.process, running.lines
        yield Subject("service", address, process, lines, ("liveness", ""))


@contextlib.contextmanager
def reference() -> Iterator[Subject]:
    """Run the stock servicer until the end of the block."""
    port, lines = free_port(), list[str]()
    with subprocess.Popen(
        [sys.executable, str(REFERENCE), str(port)], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env=clean_environment(GRPC_VERBOSITY="NONE"),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        reader = threading.Thread(target=lines.extend, args=(process.stdout,), daemon=True)
        reader.start()
        subject = Subject("reference", f"{HOST}:{port}", process, lines, ("",))
        try:
            assert wait_until(lambda: _listens(port), PATIENCE), "the reference does not start"
            yield subject
        finally:
            process.kill()
            reader.join(PATIENCE)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex((HOST, port)) == 0

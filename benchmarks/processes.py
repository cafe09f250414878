"""Starts the servers that are compared, alike, knows when they answer, and always ends them."""

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, TextIO, TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from report import BenchError

__all__ = [
    "AIO", "HERE", "OURS", "SYNC", "Memory", "Server", "Talker", "alternate", "checking",
    "descendants", "free_port", "running", "talking",
]  # fmt: skip

AIO: Final = "grpc.aio"
SYNC: Final = "grpc sync"
OURS: Final = "ours"
HERE: Final = Path(__file__).resolve().parent

_START_TIMEOUT: Final = 20.0
_POLL: Final = 0.001
_BELOW_EPHEMERAL: Final = range(20_000, 32_768)
_TICKS: Final = os.sysconf("SC_CLK_TCK")

_T = TypeVar("_T")


@dataclass(frozen=True)
class Memory:
    """What a process has in memory, in MiB."""

    resident: float
    proportional: float | None
    """With each shared page divided by those who share it; None where it may not be read."""

    @classmethod
    def of(cls, *pids: int) -> Self:
        """Say what these processes have together now."""
        resident = sum(_mebibytes(Path(f"/proc/{pid}/status"), "VmRSS") for pid in pids)
        try:
            proportional = (_mebibytes(Path(f"/proc/{pid}/smaps_rollup"), "Pss") for pid in pids)
            return cls(resident, sum(proportional))
        except OSError:
            return cls(resident, None)


@dataclass(frozen=True)
class Server:
    """A server that answers SERVING."""

    address: str
    pid: int
    cold_start: float
    """Seconds from the start of the process to the first SERVING."""

    def cpu_seconds(self) -> float:
        """Say how much CPU all its threads have used, in the kernel too."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory(self) -> Memory:
        """Say what it has in memory now."""
        return Memory.of(self.pid)

    def prove_serving(self) -> None:
        """Ask for the overall health with a real client; BenchError unless it is SERVING."""
        with _open_channel(self.address) as channel:
            if not _is_serving(health_pb2_grpc.HealthStub(channel)):  # type: ignore[no-untyped-call]
                raise BenchError(f"the server on {self.address} is not serving")


@dataclass(frozen=True)
class Talker:
    """A process that is told what to do, and answers, line by line."""

    name: str
    process: "subprocess.Popen[str]"
    log: TextIO

    def say(self, line: str) -> None:
        """Tell it something."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended: whoever waits for its answer says so
            self.process.stdin.write(f"{line}\n")
            self.process.stdin.flush()

    def hear(self) -> str:
        """Wait for its next line. Raises BenchError when it does not come."""
        assert self.process.stdout is not None
        watchdog = threading.Timer(_START_TIMEOUT, self.process.kill)
        watchdog.start()
        line = self.process.stdout.readline()
        watchdog.cancel()
        if not line:
            raise BenchError(f"{self.name} ended instead of answering; {_last_words(self.log)}")
        return line.rstrip("\n")

    def wait_until_serving(self, port: int) -> None:
        """Wait until it says SERVING there. Raises BenchError when it does not."""
        try:
            _wait_until_serving(self.process, port)
        except BenchError as error:
            raise BenchError(f"{self.name}: {error}; {_last_words(self.log)}") from None


@contextmanager
def talking(name: str, command: Sequence[str]) -> Iterator[Talker]:
    """Run a script of ours inside of the block, and end all that it has started after it.

    Args:
        name: how it is called where it fails.
        command: the file beside this one, and its arguments.
    """
    with tempfile.TemporaryDirectory() as folder, Path(folder, "log").open("w+") as log:
        process = subprocess.Popen(
            [sys.executable, str(HERE / command[0]), *command[1:]],
            cwd=folder,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        with process:
            try:
                yield Talker(name, process, log)
            finally:
                started = descendants(process.pid)
                process.kill()
                for pid in started:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Find the processes that a process has started, and those that they have."""
    found: list[int] = []
    with suppress(OSError):  # it has ended
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (thread / "children").read_text().split()):
                found += [child, *descendants(child)]
    return found


@contextmanager
def running(kind: str) -> Iterator[Server]:
    """Run a server inside of the block, from its first SERVING on."""
    port = free_port()
    command = {
        AIO: [str(HERE / "reference_aio.py"), str(port)],
        SYNC: [str(HERE / "reference_sync.py"), str(port)],
        OURS: ["-m", "petsage_grpc", "serve", "--listen", f"127.0.0.1:{port}"],
    }[kind]
    with (
        tempfile.TemporaryDirectory() as folder,
        _serving(kind, [sys.executable, *command], port, Path(folder)) as server,
    ):
        yield server


@contextmanager
def checking(settings: str, *, before: Sequence[str] = (), modules: str = "") -> Iterator[Server]:
    """Run ours with these settings inside of the block, from its first SERVING on.

    Args:
        settings: what stands in its file.
        before: the words of a command that runs the command which follows them.
        modules: a directory with modules that the settings name.
    """
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "petsage.toml")
        config.write_text(settings)
        serve = [sys.executable, "-m", "petsage_grpc", "serve", "--config", str(config)]
        command = [*before, *serve, "--listen", f"127.0.0.1:{port}"]
        with _serving(OURS, command, port, Path(folder), modules) as server:
            yield server


@contextmanager
def _serving(
    name: str, command: Sequence[str], port: int, folder: Path, modules: str = ""
) -> Iterator[Server]:
    with Path(folder, "log").open("w+") as log:
        started = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=_environment() | ({"PYTHONPATH": modules} if modules else {}),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            try:
                _wait_until_serving(process, port)
            except BenchError as error:
                raise BenchError(f"{name}: {error}; {_last_words(log)}") from None
            yield Server(f"127.0.0.1:{port}", process.pid, time.monotonic() - started)
        finally:
            process.kill()
            process.wait()


def _last_words(log: TextIO) -> str:
    log.seek(0)
    return f"it said last: {log.read().strip().rpartition(chr(10))[2] or 'nothing'}"


def alternate(
    takes: Mapping[str, Callable[[], _T]], rounds: int, *, warm_up: bool = True
) -> dict[str, list[_T]]:
    """Take each once a round, there and back by turns, so that what drifts hits all alike.

    A round before them warms up and is discarded.
    """
    samples: dict[str, list[_T]] = {name: [] for name in takes}
    for number in range(0 if warm_up else 1, rounds + 1):
        names = list(takes) if number % 2 else list(takes)[::-1]
        for name in names:
            sample = takes[name]()
            if number:
                samples[name].append(sample)
    return samples


def _environment() -> dict[str, str]:
    """Leave out what would set up one side differently from its defaults."""
    ours = ("PETSAGE_", "GRPC_", "PYTHON")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def free_port() -> int:
    """Find a port that no outgoing connection can be given.

    One that polls an ephemeral port of this machine is connected to itself sooner or later.
    """
    for port in random.sample(_BELOW_EPHEMERAL, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise BenchError("no port is free from 20000 to 32767")


def _wait_until_serving(process: "subprocess.Popen[Any]", port: int) -> None:
    """Poll tightly; open a channel only when somebody listens, for it would back off."""
    give_up = time.monotonic() + _START_TIMEOUT

    def poll(succeeds: Callable[[], bool]) -> None:
        while not succeeds():
            if process.poll() is not None:
                raise BenchError(f"exited with {process.returncode} before it was serving")
            if time.monotonic() > give_up:
                raise BenchError(f"not serving after {_START_TIMEOUT:g} s")
            time.sleep(_POLL)

    poll(lambda: _accepts(port))
    with _open_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
        poll(lambda: _is_serving(stub))


def _accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _open_channel(address: str) -> grpc.Channel:
    # Its own connection, not one that an earlier channel left with its backoff.
    return grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])


def _is_serving(stub: health_pb2_grpc.HealthStub) -> bool:
    try:
        response = stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
    except grpc.RpcError:
        return False
    return bool(response.status == health_pb2.HealthCheckResponse.SERVING)


def _mebibytes(path: Path, key: str) -> float:
    for line in path.read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"{path} has no {key}")

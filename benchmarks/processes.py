"""Starts the servers that are compared, alike, knows when they answer, and always ends them."""

import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from report import BenchError

__all__ = [
    "AIO", "HERE", "OURS", "SYNC", "Memory", "Server", "alternate", "checking", "free_port",
    "running",
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
        resident = _mebibytes(Path(f"/proc/{self.pid}/status"), "VmRSS")
        try:
            return Memory(resident, _mebibytes(Path(f"/proc/{self.pid}/smaps_rollup"), "Pss"))
        except OSError:
            return Memory(resident, None)

    def prove_serving(self) -> None:
        """Ask for the overall health with a real client; BenchError unless it is SERVING."""
        with _open_channel(self.address) as channel:
            if not _is_serving(health_pb2_grpc.HealthStub(channel)):  # type: ignore[no-untyped-call]
                raise BenchError(f"the server on {self.address} is not serving")


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
                log.seek(0)
                said = log.read().strip().rpartition("\n")[2] or "nothing"
                raise BenchError(f"{name}: {error}; it said last: {said}") from None
            yield Server(f"127.0.0.1:{port}", process.pid, time.monotonic() - started)
        finally:
            process.kill()
            process.wait()


def alternate(takes: Mapping[str, Callable[[], _T]], rounds: int) -> dict[str, list[_T]]:
    """Take each once a round, there and back by turns, so that what drifts hits all alike.

    A round before them warms up and is discarded.
    """
    samples: dict[str, list[_T]] = {name: [] for name in takes}
    for number in range(rounds + 1):
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


def _wait_until_serving(process: subprocess.Popen[bytes], port: int) -> None:
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

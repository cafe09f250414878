"""What the tests of embedded planes share: a client that waits, and real applications."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from petsage_grpc import HealthPlane
from petsage_grpc.rpc import stubs
from tests.processes import PATIENCE, clean_environment

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN

CHILD = b"petsage_grpc.plane.child"
QUICK = {"interval": 0.05, "edge_interval": 0.02, "jitter": 0.0}
QUIET: dict[str, Any] = {"listen": "127.0.0.1:0", "checks": {}}
"""Settings of a plane without checks of its own."""


class Client:
    """Asks a plane, and waits for its answers."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._channel = grpc.insecure_channel(address)
        self._health = health_pb2_grpc.HealthStub(self._channel)  # type: ignore[no-untyped-call]
        self._smoke = stubs.SmokeTestServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def check(self, name: str = "") -> int:
        """Ask for the status of a name; SERVICE_UNKNOWN for one that there is not."""
        request = health_pb2.HealthCheckRequest(service=name)
        try:
            return int(self._health.Check(request, timeout=PATIENCE, wait_for_ready=True).status)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            return int(SERVICE_UNKNOWN)

    def watch(self, name: str = "") -> Iterator[int]:
        """Follow a name until the server ends it."""
        request = health_pb2.HealthCheckRequest(service=name)
        with contextlib.suppress(grpc.RpcError):
            for answer in self._health.Watch(request, timeout=PATIENCE, wait_for_ready=True):
                yield int(answer.status)

    def becomes(self, status: int, name: str = "") -> None:
        """Wait until a name has the status."""
        assert status in self.watch(name), f"{name!r} did not become {status}"

    def smoke_test(self, **request: Any) -> stubs.SmokeTestResponse:
        """Call SmokeTest."""
        asked = stubs.SmokeTestRequest(**request)
        return self._smoke.SmokeTest(asked, timeout=PATIENCE, wait_for_ready=True)


@contextlib.contextmanager
def running(plane: HealthPlane) -> Iterator[Client]:
    """Run a plane for the block, and a client of it."""
    with plane, Client(plane.address) as client:
        yield client


def planes_of(parent: int) -> list[int]:
    """Find the plane's processes that a process has started, also after its death."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if CHILD in words and words[-2] == str(parent).encode():
                found.append(int(folder.name))
    return found


class Application:
    """An application as a process of its own; it prints, and does what it is told on a line."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: list[str] = []
        self._more = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._more:
                self.lines.append(line.rstrip("\n"))
                self._more.notify_all()
        with self._more:
            self.lines.append("(end)")
            self._more.notify_all()

    def says(self, beginning: str) -> str:
        """Wait for a line that begins so; return the rest of it."""

        def find() -> str | None:
            return next((line for line in self.lines if line.startswith(beginning)), None)

        with self._more:
            found = self._more.wait_for(find, PATIENCE)
        assert found is not None, f"no line begins with {beginning!r}: {self.lines}"
        return found.removeprefix(beginning).strip()

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    @property
    def planes(self) -> list[int]:
        return planes_of(self.process.pid)


@contextlib.contextmanager
def application(code: str, *arguments: str) -> Iterator[Application]:
    """Run Python code as an application until the end of the block."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-u", "-c", code, *arguments], stdin=pipe, stdout=pipe,
        stderr=subprocess.STDOUT, text=True, env=clean_environment(),
    ) as process:  # fmt: skip
        try:
            yield Application(process)
        finally:
            process.kill()

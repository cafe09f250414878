"""What the tests of planes that can die share: their processes, and real applications."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from petsage_grpc import HealthPlane
from petsage_grpc.rpc import stubs
from tests.plane.asking import Asking, Status
from tests.processes import PATIENCE, clean_environment

SERVING, NOT_SERVING, SERVICE_UNKNOWN = Status.SERVING, Status.NOT_SERVING, Status.SERVICE_UNKNOWN

CHILD = b"petsage_grpc.plane.child"
QUICK = {"interval": 0.05, "edge_interval": 0.02, "jitter": 0.0}
QUIET: dict[str, Any] = {"listen": "127.0.0.1:0", "checks": {}}
"""Settings of a plane without checks of its own."""

APPLICATION = """
import ctypes, os, signal, sys, threading
from petsage_grpc import HealthPlane

plane = HealthPlane.from_settings(
    isolation="process", listen="127.0.0.1:0", checks={}, max_silence=0.5, drain_delay=0
)
with plane:
    print("address", plane.address)
    for line in sys.stdin:
        if line == "fork\\n":
            child = os.fork()
            if not child:
                signal.pause()
            print("child", child)
        elif line == "hold\\n":
            ctypes.PyDLL(None).sleep(2)  # with the interpreter's lock
            print("held")
        elif line == "raise\\n":
            raise ValueError("the application's own")
        elif line == "exit\\n":
            sys.exit()
        elif line == "leave\\n":
            os._exit(0)
"""
"""An application with a plane in a process of its own, which does what it is told."""


def apart(**settings: Any) -> HealthPlane:
    """Make a quiet plane in a process of its own."""
    return HealthPlane.from_settings(isolation="process", **(QUIET | settings))


def result_of(client: Asking, name: str) -> stubs.CheckResult:
    """Ask for the result of one check."""
    (result,) = client.smoke(checks=[name]).checks
    return result


@contextlib.contextmanager
def running(plane: HealthPlane) -> Iterator[Asking]:
    """Run a plane for the block, and a client of it."""
    with plane, Asking(plane.address) as client:
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


def can_bind(address: str) -> bool:
    """Say whether nobody listens at an address."""
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError:
            return False
        return True


def eventually(true: Callable[[], object]) -> bool:
    """Look again and again until it is so, or for too long."""
    given_up = threading.Timer(PATIENCE, lambda: None)
    given_up.daemon = True
    given_up.start()
    while given_up.is_alive():
        if true():
            return True
    return False


class Application:
    """An application as a process of its own; it prints, and does what it is told on a line."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: list[str] = []
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

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

    def kill(self) -> None:
        """End it without warning, and read what it has said to the end."""
        self.process.kill()
        self._reader.join(PATIENCE)

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
        app = Application(process)
        try:
            yield app
        finally:
            app.kill()

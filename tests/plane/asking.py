"""Asks a plane as its callers do: over a real channel, from the thread of the test.

Where the plane runs is said by the variable TEST_HOST: "process", or else on a thread.
"""

import contextlib
import datetime
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from petsage_grpc import HealthPlane
from petsage_grpc.plane.health_plane import Isolation
from petsage_grpc.rpc import stubs as pb
from tests.processes import PATIENCE

ISOLATION: Final[Isolation] = "process" if os.environ.get("TEST_HOST") == "process" else "thread"
"""Where the plane runs."""
OWN_CHECKS: Final = ["application"] * (ISOLATION == "process")
"""The checks that the plane has by itself."""

HEART: Final = ("[checks.worker]", 'kind = "heartbeat"', "max_silence = 20", "rise = 1")
"""A heartbeat in a settings file."""

Status = health_pb2.HealthCheckResponse


class Asking:
    """A client of a plane.

    Args:
        address: where the plane listens.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._channel = grpc.insecure_channel(address)
        self._health = health_pb2_grpc.HealthStub(self._channel)  # type: ignore[no-untyped-call]
        self._smoke = pb.SmokeTestServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._channel.close()

    def check(self, name: str = "") -> int:
        """Ask for the status of a name; SERVICE_UNKNOWN when there is no such name."""
        try:
            request = health_pb2.HealthCheckRequest(service=name)
            answer = self._health.Check(request, timeout=PATIENCE, wait_for_ready=True)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return int(Status.SERVICE_UNKNOWN)
            raise
        return int(answer.status)

    @contextlib.contextmanager
    def watching(self, name: str = "") -> "Iterator[Iterator[int]]":
        """Follow a name: give its statuses as they come, and raise an error after PATIENCE."""
        request = health_pb2.HealthCheckRequest(service=name)
        call = self._health.Watch(request, timeout=PATIENCE, wait_for_ready=True)
        try:
            yield (int(answer.status) for answer in call)
        finally:
            call.cancel()

    def watch(self, name: str = "") -> Iterator[int]:
        """Follow a name until the server ends it, or for PATIENCE."""
        with contextlib.suppress(grpc.RpcError), self.watching(name) as statuses:
            yield from statuses

    def becomes(self, status: int, name: str = "") -> None:
        """Wait until a name has the status."""
        with self.watching(name) as statuses:
            assert status in statuses

    def smoke(
        self,
        max_age: datetime.timedelta | None = None,
        checks: Sequence[str] = (),
        feature: str = "",
    ) -> pb.SmokeTestResponse:
        """Call SmokeTest."""
        request = pb.SmokeTestRequest(max_age=max_age, checks=checks, feature=feature)
        return self._smoke.SmokeTest(request, timeout=PATIENCE, wait_for_ready=True)


def make(path: Path | None = None, **settings: Any) -> HealthPlane:
    """Make a plane without checks of its own, on a free port."""
    given: dict[str, Any] = {"listen": "127.0.0.1:0", "checks": {}, "isolation": ISOLATION}
    return HealthPlane.from_settings(path, **given | settings)


def host_thread() -> threading.Thread:
    """Give the thread of the one plane that runs."""
    names = ("petsage plane", "petsage link")
    (thread,) = (thread for thread in plane_threads() if thread.name in names)
    return thread


def plane_threads() -> list[threading.Thread]:
    """Give all threads of planes."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("petsage")]

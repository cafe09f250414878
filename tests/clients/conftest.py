"""Finds the real clients; one that is missing skips its tests, and fails them in CI."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import PATIENCE, Served, served

BUILT = Path(__file__).parent / "bin"
CHECK = "grpc.health.v1.Health/Check"

Client = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.clients)


def find(name: str) -> str:
    """Find a client that the Go module builds."""
    path = BUILT / name
    if path.exists():
        return str(path)
    problem = f"{name} is missing: `make clients` builds it (needs Go)"
    if os.environ.get("CI") == "true":
        pytest.fail(problem)
    pytest.skip(problem)


def client(name: str) -> Client:
    """Make a function that runs a client to its end."""
    path = find(name)

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [path, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False
        )

    return run


@pytest.fixture
def grpcurl() -> Client:
    return client("grpcurl")


@pytest.fixture
def kubelet() -> Client:
    return client("kubelet-prober")


@pytest.fixture
def health_client() -> Client:
    return client("health-client")


@pytest.fixture
def grpc_health_probe() -> Client:
    """The original; it can not be built here, so only who has it runs these tests."""
    path = shutil.which("grpc_health_probe")
    if path is None:
        pytest.skip("grpc_health_probe is not on PATH: install it to compare ours with it")

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [path, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False
        )

    return run


@pytest.fixture(scope="module")
def service() -> Iterator[Served]:
    """A service with nothing set but its port, ready."""
    with served() as process:
        process.wait_for("check disk is passing")
        process.wait_for("check log is passing")
        yield process


class Follower:
    """A health client that watches, and the events that it prints."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def event(self, name: str) -> dict[str, Any]:
        """Wait for the next event, which must be this one."""
        assert self.process.stdout is not None
        event: dict[str, Any] = json.loads(self.process.stdout.readline())
        assert event.pop("event") == name
        return event


@pytest.fixture
def follow() -> Iterator[Callable[..., Follower]]:
    """Start health clients that watch; they end with the test."""
    path, processes = find("health-client"), []

    def start(address: str, *arguments: str) -> Follower:
        command = [path, "watch", "-addr", address, *arguments]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return Follower(processes[-1])

    yield start
    for process in processes:
        process.kill()
        process.communicate()

"""Starts the examples as their READMEs say, and asks them as those who look after pods do."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2

from petsage_grpc.rpc.stubs import (
    STATUS_OK,
    SmokeTestRequest,
    SmokeTestResponse,
    SmokeTestServiceStub,
)
from tests.clients.conftest import CHECK, client, find
from tests.processes import PATIENCE, Served, clean_environment

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
PROTO = EXAMPLES / "cats.proto"
CATS = "petsage.examples.v1.CatService"
ISOLATIONS = ("thread", "process")
SMOKE = "petsage.v1.SmokeTestService/SmokeTest"
NAMES = ("", "readiness", "liveness", "startup")
MAX_SILENCE = 0.5
"""Seconds, in the tests that block something."""
LONG_NAP = 3 * MAX_SILENCE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.clients)


@pytest.fixture(scope="module", params=ISOLATIONS)
def isolation(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def kill_group(leader: int) -> None:
    """Kill a process with the workers that it has forked."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


@contextlib.contextmanager
def started(
    *command: str, stdin: int | None = None, cwd: Path | None = None, **variables: str
) -> Iterator[Served]:
    """Run a command until the end of the block, from when its plane listens."""
    pipe, same = subprocess.PIPE, subprocess.STDOUT
    with (
        subprocess.Popen(
            command, stdin=stdin, stdout=pipe, stderr=same, text=True, cwd=cwd,
            env=clean_environment(**variables), process_group=0,
        ) as process,
        contextlib.ExitStack() as at_end,
    ):  # fmt: skip
        at_end.callback(kill_group, process.pid)
        served = Served(process)
        at_end.callback(lambda: print(*served.lines, sep="\n"))  # shown when the test fails
        at_end.callback(served.kill)
        at_end.callback(kill_group, process.pid)
        yield served


def commands(folder: str, pattern: str) -> list[list[str]]:
    """Read from the README of an example how it is started."""
    return [
        line.split() for line in re.findall(pattern, (EXAMPLES / folder / "README.md").read_text())
    ]


@contextlib.contextmanager
def example(
    folder: str, *arguments: str, stdin: int | None = None, **variables: str
) -> Iterator[Served]:
    """Run an example as its README says, with a short `--max-silence`, its plane on a free port."""
    ((_, file),) = commands(folder, r"\bpython \S+")
    command = [
        sys.executable,
        file,
        "--health=127.0.0.1:0",
        f"--max-silence={MAX_SILENCE}",
        *arguments,
    ]
    with started(*command, stdin=stdin, cwd=EXAMPLES.parent, **variables) as process:
        yield process


def kubelet_says(address: str, name: str) -> bool:
    """Probe as the kubelet does: whether it counts as a success."""
    host, _, port = address.rpartition(":")
    return client("kubelet-prober")("-host", host, "-port", port, "-service", name).returncode == 0


def grpcurl(*arguments: str) -> str:
    """Run grpcurl, which must succeed; return what it prints."""
    ran = client("grpcurl")("-plaintext", *arguments)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@contextlib.contextmanager
def watching(address: str, name: str) -> Iterator[Iterator[str]]:
    """Watch a name; gives on each status that it gets."""
    with grpc.insecure_channel(address) as channel:
        watch: Any = channel.unary_stream("/grpc.health.v1.Health/Watch")
        asked = health_pb2.HealthCheckRequest(service=name).SerializeToString()
        answers = (health_pb2.HealthCheckResponse.FromString(raw) for raw in watch(asked, PATIENCE))
        names = health_pb2.HealthCheckResponse.ServingStatus
        yield (names.Name(answer.status) for answer in answers)


def wait_until(address: str, name: str, status: str = "SERVING") -> None:
    """Wait until a name has this status."""
    with watching(address, name) as statuses:
        assert status in statuses


def smoke_test(address: str) -> SmokeTestResponse:
    with grpc.insecure_channel(address) as channel:
        return SmokeTestServiceStub(channel).SmokeTest(SmokeTestRequest(), timeout=PATIENCE)


def failing_checks(address: str) -> list[str]:
    return [check.name for check in smoke_test(address).checks if check.status != STATUS_OK]


def assert_answers(process: Served) -> None:
    """Make sure that the kubelet's prober and grpcurl hear from its plane that it is well."""
    assert [kubelet_says(process.address, name) for name in NAMES] == [True] * len(NAMES)
    assert json.loads(grpcurl(process.address, CHECK)) == {"status": "SERVING"}
    end = time.monotonic() + PATIENCE  # what gates nothing may have its first result later
    while (told := json.loads(grpcurl(process.address, SMOKE)))["status"] != "STATUS_OK":
        assert time.monotonic() < end, told


def assert_drains(process: Served) -> None:
    """Make sure that a plane is in a drain, or will soon be."""
    wait_until(process.address, "readiness", "NOT_SERVING")
    assert kubelet_says(process.address, "liveness")


def cats(process: Served) -> str:
    """Find where the application of an example listens."""
    return "127.0.0.1:" + process.wait_for(r"cats: listening on port (\d+)")[1]


def assert_purrs(process: Served) -> None:
    """Make sure that grpcurl can call the application."""
    asked = ["-import-path", str(PROTO.parent), "-proto", PROTO.name, "-d", '"Tom"']
    assert grpcurl(*asked, cats(process), f"{CATS}/Purr") == '"Tom purrs."'


def assert_loses_no_call_in_a_drain(process: Served) -> None:
    """Send SIGTERM to a gRPC server under load, and make sure that each call is answered."""
    load = subprocess.Popen(
        [find("ghz"), "--insecure", "--proto", PROTO, "--call", f"{CATS}/Purr", "--data", '"Tom"',
         "--concurrency", "4", "--duration", "1s", "--duration-stop", "wait", "--format", "json",
         cats(process)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    process.signal(signal.SIGTERM)
    assert_drains(process)
    report = json.loads(load.communicate(timeout=PATIENCE)[0])
    assert kubelet_says(process.address, "liveness")  # the load was over before the drain was
    process.signal(signal.SIGTERM)  # cuts the rest of the drain short
    assert process.end() == 0
    assert report["statusCodeDistribution"] == {"OK": report["count"]}
    assert report["count"] > 100


@contextlib.contextmanager
def naps(address: str, number: int, seconds: float = LONG_NAP) -> Iterator[None]:
    """Have so many naps begun at once; they have ended well with the block."""
    with grpc.insecure_channel(address) as channel:
        nap: Any = channel.unary_unary(f"/{CATS}/Nap")
        length = Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9)).SerializeToString()
        calls = [nap.future(length, PATIENCE) for _ in range(number)]
        yield
        assert [call.result() for call in calls] == [length] * number

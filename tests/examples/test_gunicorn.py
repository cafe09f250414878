"""The example of gunicorn: one plane for the group, which all of its workers beat."""

import asyncio
import contextlib
import re
import signal
import socket
import sys
from collections.abc import Iterator

import grpc
import httpx
import pytest

from tests.examples.conftest import (
    EXAMPLES,
    assert_answers,
    assert_drains,
    commands,
    failing_checks,
    kubelet_says,
    smoke_test,
    started,
    wait_until,
    watching,
)
from tests.processes import PATIENCE, Served

COMMANDS = commands("gunicorn", r"\bgunicorn (?:-k \S+ )?cats:\w+")
BOOTING, TIMEOUT = "Booting worker with pid: ", r"WORKER TIMEOUT \(pid:"
SLOTS = ["worker-0", "worker-1"]
CLOSE = {"connection": "close"}


@contextlib.contextmanager
def running(command: list[str]) -> Iterator[Served]:
    """Run the example by a command of its README."""
    module = [sys.executable, "-m", *command]
    ports = ["--bind=127.0.0.1:0", "--no-control-socket", "--timeout=2"]
    with started(
        *module, *ports, cwd=EXAMPLES / "gunicorn",
        PETSAGE_LISTEN="127.0.0.1:0", PETSAGE_DRAIN_DELAY="20",
    ) as process:  # fmt: skip
        wait_until(process.address, "readiness")
        yield process


def cats(process: Served) -> str:
    return process.wait_for(r"Listening at: (http://\S+)")[1]


def workers(process: Served) -> set[str]:
    """Find the ids of the workers that have been started, and not killed by gunicorn."""
    said = "\n".join(process.lines)
    started, killed = (set(re.findall(rf"{words}(\d+)", said)) for words in (BOOTING, TIMEOUT))
    return started - killed


def hold(process: Served) -> socket.socket:
    """Hold a worker until gunicorn kills it."""
    host, _, port = cats(process).removeprefix("http://").rpartition(":")
    held = socket.create_connection((host, int(port)))
    held.sendall(b"GET /nap?seconds=60 HTTP/1.1\r\nhost: cats\r\n\r\n")
    return held


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
async def test_all_workers_have_one_plane_and_a_drain_loses_no_request(command: list[str]) -> None:
    with running(command) as process:
        await asyncio.to_thread(assert_answers, process)
        checks = smoke_test(process.address).checks
        assert {check.name for check in checks} >= {"application", "workers", *SLOTS}
        drained = asyncio.Event()

        async def ask() -> set[int]:
            """Ask until it drains, and a while longer."""
            answers, after = set(), 0
            async with httpx.AsyncClient(timeout=PATIENCE, headers=CLOSE) as client:
                while after < 10:
                    answers.add((await client.get(cats(process))).status_code)
                    after += drained.is_set()
            return answers

        async with asyncio.TaskGroup() as group:
            load = [group.create_task(ask()) for _ in range(2)]
            process.signal(signal.SIGTERM)
            await asyncio.to_thread(assert_drains, process)
            drained.set()
        assert [task.result() for task in load] == [{200}] * 2
        process.signal(signal.SIGTERM)  # cuts the rest of the drain short
        assert process.end() == 0


def test_a_stuck_worker_is_reported_and_a_stuck_group_is_not_ready() -> None:
    with running(COMMANDS[0]) as process, watching(process.address, "readiness") as readiness:
        for slot in SLOTS:  # it may have been stale before its worker was there
            process.wait_for(f"check {slot} is passing")
        booted = len(process.lines)
        with hold(process):
            slot = process.wait_for(r"check (worker-\d) is stale", booted)[1]
            assert failing_checks(process.address) == [slot]
            assert kubelet_says(process.address, "readiness")
            process.wait_for(f"check {slot} is passing", booted)  # gunicorn has killed it
        before = workers(process)
        process.signal(signal.SIGHUP)  # those who read the file once more beat, too
        for worker in before:
            process.wait_for(rf"Worker exiting \(pid: {worker}\)")
        assert next(readiness) == "SERVING"
        with hold(process), hold(process):
            assert next(readiness) == "NOT_SERVING"
            assert set(failing_checks(process.address)) == {"workers", *SLOTS}
            assert next(readiness) == "SERVING"


def test_with_the_master_the_plane_ends_though_the_workers_may_live_on() -> None:
    with running(COMMANDS[0]) as process, watching(process.address, "readiness") as readiness:
        assert next(readiness) == "SERVING"
        process.signal(signal.SIGKILL)
        with pytest.raises(grpc.RpcError) as caught:
            assert set(readiness) <= {"NOT_SERVING"}
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE

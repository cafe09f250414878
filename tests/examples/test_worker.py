"""The example of a worker: it has no server of its own, and its jobs can be stuck."""

import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.examples.conftest import (
    LONG_NAP,
    assert_answers,
    assert_drains,
    example,
    failing_checks,
    wait_until,
    watching,
)
from tests.processes import Served

FOLDER = "worker"
PIPE = subprocess.PIPE


def send(process: Served, *jobs: str) -> None:
    """Put jobs into its queue."""
    assert process.process.stdin is not None
    process.process.stdin.write("".join(f"{job}\n" for job in jobs))
    process.process.stdin.flush()


@pytest.fixture(scope="module")
def running(isolation: str) -> Iterator[Served]:
    with example(FOLDER, f"--isolation={isolation}", stdin=PIPE) as process:
        wait_until(process.address, "readiness")
        yield process


def test_the_kubelet_and_grpcurl_are_answered(running: Served) -> None:
    assert_answers(running)


def test_a_job_that_is_stuck_turns_readiness_and_liveness_until_it_goes_on(running: Served) -> None:
    address = running.address
    with watching(address, "readiness") as readiness, watching(address, "liveness") as liveness:
        assert (next(readiness), next(liveness)) == ("SERVING", "SERVING")
        send(running, f"Tom {LONG_NAP}")
        assert (next(readiness), next(liveness)) == ("NOT_SERVING", "NOT_SERVING")
        assert failing_checks(address) == ["worker"]
        assert (next(readiness), next(liveness)) == ("SERVING", "SERVING")
    running.wait_for("Tom has slept")


def test_a_drain_ends_the_job_at_hand_and_takes_no_other(isolation: str) -> None:
    with example(FOLDER, f"--isolation={isolation}", stdin=PIPE) as process:
        wait_until(process.address, "readiness")
        send(process, "Tom 0", f"Rex {LONG_NAP}", "Mia 0")
        process.wait_for("Rex sleeps")
        process.signal(signal.SIGTERM)
        process.wait_for("Rex has slept")
        assert process.end() == 0
    assert process.lines[-1].endswith("stopped with 1 jobs left to others")
    assert not any("Mia has slept" in line for line in process.lines)


def test_in_a_drain_it_is_not_ready_but_alive(isolation: str) -> None:
    arguments = [f"--isolation={isolation}", "--max-silence=20"]
    with example(FOLDER, *arguments, stdin=PIPE) as process:
        wait_until(process.address, "readiness")
        send(process, "Rex 60")
        process.wait_for("Rex sleeps")
        process.signal(signal.SIGTERM)
        assert_drains(process)

"""The example of an asynchronous server: its loop can be blocked, and its health is still told."""

from collections.abc import Iterator

import pytest

from tests.examples.conftest import (
    assert_answers,
    assert_loses_no_call_in_a_drain,
    assert_purrs,
    cats,
    example,
    failing_checks,
    naps,
    wait_until,
    watching,
)
from tests.processes import Served

COMMAND = ("grpc-aio", "--listen=127.0.0.1:0")


@pytest.fixture(scope="module")
def running(isolation: str) -> Iterator[Served]:
    with example(*COMMAND, f"--isolation={isolation}") as process:
        wait_until(process.address, "readiness")
        yield process


def test_the_kubelet_and_grpcurl_are_answered(running: Served) -> None:
    assert_answers(running)
    assert_purrs(running)


def test_a_blocked_loop_turns_readiness_and_liveness_until_it_goes_on(running: Served) -> None:
    address = running.address
    with watching(address, "readiness") as readiness, watching(address, "liveness") as liveness:
        assert (next(readiness), next(liveness)) == ("SERVING", "SERVING")
        with naps(cats(running), 1):
            assert (next(readiness), next(liveness)) == ("NOT_SERVING", "NOT_SERVING")
            assert failing_checks(address) == ["loop"]
        assert (next(readiness), next(liveness)) == ("SERVING", "SERVING")


def test_a_drain_loses_no_call(isolation: str) -> None:
    with example(*COMMAND, f"--isolation={isolation}", PETSAGE_DRAIN_DELAY="20") as process:
        wait_until(process.address, "readiness")
        assert_loses_no_call_in_a_drain(process)

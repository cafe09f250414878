"""The example of a synchronous server: its pool can be full, and its health is still told."""

from collections.abc import Iterator

import pytest

from tests.examples.conftest import (
    LONG_NAP,
    assert_answers,
    assert_loses_no_call_in_a_drain,
    assert_purrs,
    cats,
    example,
    failing_checks,
    kubelet_says,
    naps,
    wait_until,
    watching,
)
from tests.processes import Served

COMMAND = ("sync-grpcio", "--listen=127.0.0.1:0")
WORKERS = 4


@pytest.fixture(scope="module")
def running(isolation: str) -> Iterator[Served]:
    with example(*COMMAND, f"--isolation={isolation}") as process:
        wait_until(process.address, "readiness")
        yield process


def test_the_kubelet_and_grpcurl_are_answered(running: Served) -> None:
    assert_answers(running)
    assert_purrs(running)


def test_a_full_pool_turns_readiness_alone_until_it_is_not_full_any_more(running: Served) -> None:
    with watching(running.address, "readiness") as readiness:
        assert next(readiness) == "SERVING"
        with naps(cats(running), 2 * WORKERS, LONG_NAP / 2):
            assert next(readiness) == "NOT_SERVING"
            assert failing_checks(running.address) == ["pool"]
            assert kubelet_says(running.address, "liveness")
        assert next(readiness) == "SERVING"


def test_a_drain_loses_no_call(isolation: str) -> None:
    with example(*COMMAND, f"--isolation={isolation}", PETSAGE_DRAIN_DELAY="20") as process:
        wait_until(process.address, "readiness")
        assert_loses_no_call_in_a_drain(process)

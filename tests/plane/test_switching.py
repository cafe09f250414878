"""The switch interval is shortened for a plane on a thread, and given back."""

import os
import sys
from collections.abc import Iterator

import pytest

from petsage_grpc import HealthPlane
from petsage_grpc.plane.switching import ShortTurns, SwitchInterval
from tests.plane.asking import Status
from tests.plane.planes import QUIET, eventually, running
from tests.processes import python


@pytest.fixture(autouse=True)
def before() -> Iterator[float]:
    before = sys.getswitchinterval()
    yield before
    sys.setswitchinterval(before)


def test_the_shortest_wish_holds_and_the_last_gives_back_what_was_there(before: float) -> None:
    interval = SwitchInterval()
    interval.shorten(0.001)
    interval.shorten(0.0005)
    interval.shorten(0.0)
    assert sys.getswitchinterval() == pytest.approx(0.0005)
    interval.give_back(0.0005)
    assert sys.getswitchinterval() == pytest.approx(0.001)
    interval.give_back(0.0)
    interval.give_back(0.001)
    assert sys.getswitchinterval() == before


def test_a_shorter_one_is_left_alone() -> None:
    sys.setswitchinterval(0.0001)
    SwitchInterval().shorten(0.0005)
    assert sys.getswitchinterval() == pytest.approx(0.0001, rel=0.05)


def test_after_a_fork_no_wish_is_left_and_the_next_one_begins_anew(before: float) -> None:
    interval = SwitchInterval()
    interval.shorten(0.001)
    interval._lock.acquire()  # by a thread that the child does not have
    interval.abandon()
    assert sys.getswitchinterval() == before
    interval.shorten(0.0005)
    assert sys.getswitchinterval() == pytest.approx(0.0005)
    interval.give_back(0.0005)
    assert sys.getswitchinterval() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_forked_worker_has_the_interval_that_was_there_before() -> None:
    ended = python(
        "import os, sys\n"
        "from petsage_grpc.plane.switching import ShortTurns\n"
        "before = sys.getswitchinterval()\n"
        "ShortTurns(before / 10).take()\n"
        "assert sys.getswitchinterval() < before\n"
        "worker = os.fork()\n"
        "if not worker:\n"
        "    os._exit(sys.getswitchinterval() != before)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]))\n"
    )
    assert ended.returncode == 0, ended.stderr


def test_what_somebody_else_sets_meanwhile_is_left_alone() -> None:
    interval = SwitchInterval()
    interval.shorten(0.0005)
    sys.setswitchinterval(0.002)
    interval.give_back(0.0005)
    assert sys.getswitchinterval() == pytest.approx(0.002)


def test_turns_are_short_while_there_is_something_to_do_and_a_second_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("petsage_grpc.plane.switching.monotonic", lambda: now)
    sys.setswitchinterval(0.005)
    turns = ShortTurns(0.0005)
    assert (turns.wait(None), turns.wait(7.0)) == (None, 7.0)
    assert sys.getswitchinterval() == pytest.approx(0.005)
    for _ in range(2):
        turns.take()
        now += 0.6
    assert sys.getswitchinterval() == pytest.approx(0.0005)
    assert (turns.wait(None), turns.wait(7.0), turns.wait(0.1)) == pytest.approx((0.4, 0.4, 0.1))
    now += 0.4
    assert (turns.wait(None), turns.wait(7.0)) == (None, 7.0)
    assert sys.getswitchinterval() == pytest.approx(0.005)
    turns.end()
    turns.take()
    turns.end()
    assert sys.getswitchinterval() == pytest.approx(0.005)


def test_turns_that_are_left_alone_need_no_look(before: float) -> None:
    turns = ShortTurns(0.0)
    turns.take()
    assert turns.wait(None) is None
    assert sys.getswitchinterval() == before


@pytest.mark.parametrize(
    ("isolation", "settings", "wanted"),
    [("thread", {}, 0.0002), ("thread", {"switch_interval": 0}, 0.005), ("process", {}, 0.005)],
)
def test_only_a_plane_on_a_thread_shortens_them_and_only_while_it_is_asked(
    isolation: str, settings: dict[str, float], wanted: float
) -> None:
    sys.setswitchinterval(0.005)
    plane = HealthPlane.from_settings(isolation=isolation, **QUIET, **settings)  # type: ignore[arg-type]
    with running(plane) as client:
        assert client.check("") is Status.SERVING
        assert sys.getswitchinterval() == pytest.approx(wanted)
        assert eventually(lambda: sys.getswitchinterval() == pytest.approx(0.005))
    assert sys.getswitchinterval() == pytest.approx(0.005)

"""The switch interval is shortened for a plane on a thread, and given back."""

import sys
from collections.abc import Iterator

import pytest

from petsage_grpc import HealthPlane
from petsage_grpc.plane.switching import SwitchInterval
from tests.plane.planes import QUIET


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


def test_what_somebody_else_sets_meanwhile_is_left_alone() -> None:
    interval = SwitchInterval()
    interval.shorten(0.0005)
    sys.setswitchinterval(0.002)
    interval.give_back(0.0005)
    assert sys.getswitchinterval() == pytest.approx(0.002)


@pytest.mark.parametrize(
    ("isolation", "settings", "wanted"),
    [("thread", {}, 0.0005), ("thread", {"switch_interval": 0}, 0.005), ("process", {}, 0.005)],
)
def test_only_a_plane_on_a_thread_shortens_it(
    isolation: str, settings: dict[str, float], wanted: float
) -> None:
    sys.setswitchinterval(0.005)
    with HealthPlane.from_settings(isolation=isolation, **QUIET, **settings):  # type: ignore[arg-type]
        assert sys.getswitchinterval() == pytest.approx(wanted)
    assert sys.getswitchinterval() == pytest.approx(0.005)

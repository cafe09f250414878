"""The state machine of one check, as complete tables."""

import pytest

from petsage_grpc.core.check_state import CheckState, Result, Transition
from petsage_grpc.core.policy import Policy
from petsage_grpc.core.status import Verdict
from petsage_grpc.core.units import Duration

POLICY = Policy(fall=3, rise=2)


def feed(state: CheckState, letters: str, *, start: float = 0.0) -> str:
    """Observe a pass for each 'p' and a failure for each 'f', a second apart; say the verdicts."""
    verdicts = ""
    for second, letter in enumerate(letters):
        at = start + second
        state.observe(Result(passed=letter == "p", at=at, wall_time=at))
        verdicts += "P" if state.verdict(at) is Verdict.PASSING else "F"
    return verdicts


@pytest.mark.parametrize(
    ("results", "verdicts"),
    [
        pytest.param("p", "P", id="the first pass decides at once"),
        pytest.param("f", "F", id="the first failure decides at once"),
        pytest.param("pff", "PPP", id="fewer failures than fall turn nothing"),
        pytest.param("pfff", "PPPF", id="fall failures in a row turn it"),
        pytest.param("pffpff", "PPPPPP", id="a pass starts the count of failures anew"),
        pytest.param("pffpfff", "PPPPPPF", id="after a pass the whole fall is needed again"),
        pytest.param("fp", "FF", id="fewer passes than rise turn nothing"),
        pytest.param("fpp", "FFP", id="rise passes in a row turn it back"),
        pytest.param("fpfp", "FFFF", id="a failure starts the count of passes anew"),
        pytest.param("pfffpp", "PPPFFP", id="down and up again"),
        pytest.param("pfffpf", "PPPFFF", id="a pass between does not lift it"),
        pytest.param("fppfff", "FFPPPF", id="up and down again"),
    ],
)
def test_results_turn_the_state(results: str, verdicts: str) -> None:
    assert feed(CheckState(POLICY), results) == verdicts


@pytest.mark.parametrize("fall", [1, 2, 5])
@pytest.mark.parametrize("rise", [1, 2, 5])
def test_exactly_fall_failures_and_rise_passes_are_needed(fall: int, rise: int) -> None:
    state = CheckState(Policy(fall=fall, rise=rise))
    expected = "P" * fall + "F" + "F" * (rise - 1) + "P"
    assert feed(state, "p" + "f" * fall + "p" * rise) == expected


def test_before_it_is_started_it_is_pending_for_ever() -> None:
    state = CheckState(POLICY)
    assert state.verdict(0.0) is Verdict.PENDING
    assert state.verdict(1e12) is Verdict.PENDING


def test_a_first_result_that_never_comes_is_stale_in_the_end() -> None:
    state = CheckState(POLICY, since=100.0)
    assert state.verdict(131.9) is Verdict.PENDING
    assert state.verdict(132.0) is Verdict.STALE
    assert feed(state, "p", start=140.0) == "P"


def test_what_turned_is_noted_once_and_the_oldest_is_forgotten() -> None:
    state = CheckState(Policy(fall=1, rise=1), since=0.0, history=2)
    assert state.note(0.0, 0.0) is None
    for second, passed in enumerate([True, False, True, True, False]):
        detail = "" if passed else f"broken at {second}"
        state.observe(Result(passed, at=second, wall_time=second, detail=detail))
        state.note(float(second), float(second))
    assert [*state.history] == [
        Transition(Verdict.PASSING, 2.0, ""),
        Transition(Verdict.FAILING, 4.0, "broken at 4"),
    ]


@pytest.mark.parametrize("letter", ["p", "f"])
def test_a_result_is_stale_from_its_age_on_whatever_it_said(letter: str) -> None:
    state = CheckState(Policy(interval=Duration(10), timeout=Duration(2)))
    feed(state, letter)
    before = Verdict.PASSING if letter == "p" else Verdict.FAILING
    assert state.verdict(31.999) is before
    assert state.verdict(32.0) is Verdict.STALE


def test_stale_after_overrides_the_default_age() -> None:
    state = CheckState(Policy(stale_after=Duration(100)))
    feed(state, "p")
    assert state.verdict(99.9) is Verdict.PASSING
    assert state.verdict(100.0) is Verdict.STALE


@pytest.mark.parametrize("before", ["p", "f", "pff", "fp"])
@pytest.mark.parametrize(("letter", "verdict"), [("p", "P"), ("f", "F")])
def test_the_first_result_after_a_stale_one_decides_at_once(
    before: str, letter: str, verdict: str
) -> None:
    state = CheckState(POLICY)
    feed(state, before)
    assert state.verdict(500.0) is Verdict.STALE
    assert feed(state, letter, start=501.0) == verdict


def test_failures_in_a_row_are_counted_from_the_first_and_forgotten_with_a_pass() -> None:
    state = CheckState(POLICY)
    feed(state, "pff")
    assert state.failures == 2
    feed(state, "p")
    assert state.failures == 0


@pytest.mark.parametrize(
    ("results", "has_passed"),
    [("", False), ("f", False), ("fp", False), ("fpp", True), ("p", True), ("pfff", True)],
)
def test_it_remembers_whether_it_has_ever_been_passing(results: str, has_passed: bool) -> None:
    state = CheckState(POLICY)
    feed(state, results)
    assert state.has_passed is has_passed


@pytest.mark.parametrize(
    ("results", "delay"),
    [
        pytest.param("p", 1, id="the very first pass"),
        pytest.param("pp", 10, id="settled and passing"),
        pytest.param("f", 1, id="the very first failure"),
        pytest.param("ff", 1, id="the second of three"),
        pytest.param("fff", 10, id="settled and failing"),
        pytest.param("ppf", 1, id="a first failure"),
        pytest.param("pf", 1, id="a failure right after the very first pass"),
        pytest.param("pff", 1, id="failing on"),
        pytest.param("pfff", 10, id="settled as failing"),
        pytest.param("fffp", 1, id="a first pass"),
        pytest.param("fpp", 10, id="settled as passing"),
        pytest.param("pfp", 10, id="a single failure that was none"),
    ],
)
def test_it_is_asked_more_often_until_it_is_settled(results: str, delay: float) -> None:
    state = CheckState(POLICY)
    feed(state, results)
    assert state.next_delay == delay


def test_an_edge_interval_longer_than_the_interval_slows_nothing_down() -> None:
    state = CheckState(Policy(interval=Duration(0.5), timeout=Duration(0.1)))
    feed(state, "pf")
    assert state.next_delay == 0.5

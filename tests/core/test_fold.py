"""How checks add up to names, as complete tables over an explicit order."""

from collections.abc import Mapping

import pytest

from petsage_grpc.core.check_state import CheckState, Result
from petsage_grpc.core.fold import Answer, fold_health, fold_name, make_rules
from petsage_grpc.core.policy import Policy
from petsage_grpc.core.status import Health, Status, Verdict

NOW = 100.0
SERVING, NOT_SERVING, PENDING = Status.SERVING, Status.NOT_SERVING, None

# One check in each state, named by it.
STATES = {
    "passing": [True],
    "failing": [False],
    "pending": [],
    "stale": [True],
    "wavering": [True, False],
    "was-passing": [True, False, False, False],
}


def state(name: str) -> CheckState:
    made = CheckState(Policy())
    at = NOW - 1000 if name == "stale" else NOW - 1
    for passed in STATES[name]:
        made.observe(Result(passed=passed, at=at, wall_time=at))
    return made


@pytest.mark.parametrize(
    ("needed", "status", "once_status"),
    [
        pytest.param([], SERVING, SERVING, id="nothing is needed"),
        pytest.param(["passing"], SERVING, SERVING, id="passing"),
        pytest.param(["failing"], NOT_SERVING, NOT_SERVING, id="failing"),
        pytest.param(["pending"], PENDING, NOT_SERVING, id="pending"),
        pytest.param(["stale"], NOT_SERVING, SERVING, id="stale"),
        pytest.param(["wavering"], SERVING, SERVING, id="fewer failures than fall"),
        pytest.param(["was-passing"], NOT_SERVING, SERVING, id="failing after it passed"),
        pytest.param(["passing", "wavering"], SERVING, SERVING, id="all pass"),
        pytest.param(["passing", "failing"], NOT_SERVING, NOT_SERVING, id="one of two fails"),
        pytest.param(["passing", "pending"], PENDING, NOT_SERVING, id="one of two pends"),
        pytest.param(["passing", "stale"], NOT_SERVING, SERVING, id="one of two is stale"),
    ],
)
@pytest.mark.parametrize("draining", [False, True], ids=["serving", "draining"])
def test_a_name_follows_from_the_checks_it_needs(
    needed: list[str], status: Status | None, once_status: Status, draining: bool
) -> None:
    states: Mapping[str, CheckState] = {name: state(name) for name in STATES}
    rules = make_rules(
        {name: ["readiness", "liveness", "startup"] if name in needed else [] for name in STATES},
        {"a.group": needed},
        ["a.Service"],
    )
    answers = {
        name: fold_name(rule, states, now=NOW, draining=draining).status
        for name, rule in rules.items()
    }
    alive = SERVING if status is PENDING else status  # nothing is lost that is only waited for
    drained = NOT_SERVING if draining or status is PENDING else status
    assert answers == {
        "": drained,
        "readiness": drained,
        "a.Service": drained,
        "a.group": drained,
        "liveness": alive,
        "startup": once_status,
    }


def test_a_serving_answer_lasts_as_long_as_its_oldest_result() -> None:
    states = {"old": CheckState(Policy()), "new": CheckState(Policy())}
    states["old"].observe(Result(passed=True, at=NOW - 20, wall_time=0))
    states["new"].observe(Result(passed=True, at=NOW - 1, wall_time=0))
    rule = make_rules({name: ["readiness"] for name in states}, {}, [])["readiness"]
    assert fold_name(rule, states, now=NOW, draining=False) == Answer(SERVING, NOW - 20 + 32)


def test_a_group_of_a_service_takes_the_place_of_readiness() -> None:
    rules = make_rules({"db": ["readiness"], "cache": []}, {"a.Service": ["cache"]}, ["a.Service"])
    assert rules["a.Service"].checks == ("cache",)


@pytest.mark.parametrize(
    ("gates", "group", "name", "health"),
    [
        pytest.param(["readiness", "startup"], [], "passing", Health.OK, id="all is well"),
        pytest.param(["readiness", "startup"], [], "wavering", Health.OK, id="not settled"),
        pytest.param(["readiness"], [], "failing", Health.FAILING, id="readiness needs it"),
        pytest.param(["liveness"], [], "failing", Health.FAILING, id="liveness needs it"),
        pytest.param(["startup"], [], "failing", Health.FAILING, id="startup needs it"),
        pytest.param(["startup"], [], "pending", Health.FAILING, id="startup waits for it"),
        pytest.param([], ["it"], "failing", Health.FAILING, id="a group needs it"),
        pytest.param([], ["it"], "pending", Health.FAILING, id="a group waits for it"),
        pytest.param(["readiness"], [], "pending", Health.FAILING, id="readiness waits for it"),
        pytest.param(["readiness"], [], "stale", Health.FAILING, id="stale is not well"),
        pytest.param([], [], "failing", Health.DEGRADED, id="it is only reported"),
        pytest.param([], [], "pending", Health.DEGRADED, id="only reported and pending"),
        pytest.param([], [], "stale", Health.DEGRADED, id="only reported and stale"),
        pytest.param(["startup"], [], "was-passing", Health.DEGRADED, id="startup has had it"),
        pytest.param(["startup"], [], "stale", Health.DEGRADED, id="startup has had it, stale"),
    ],
)
def test_the_smoke_test_weighs_what_a_broken_check_takes_down(
    gates: list[str], group: list[str], name: str, health: Health
) -> None:
    groups = {"a.group": group} if group else {}
    rules = make_rules({"it": gates, "other": ["readiness"]}, groups, [])
    states = {"it": state(name), "other": state("passing")}
    broken = [check for check in states if states[check].verdict(NOW) is not Verdict.PASSING]
    assert fold_health(rules, states, broken, now=NOW) is health


def test_the_health_of_some_checks_is_not_that_of_the_others() -> None:
    rules = make_rules({"it": ["startup"], "other": ["readiness", "startup"]}, {}, [])
    states = {"it": state("was-passing"), "other": state("failing")}
    assert fold_health(rules, states, ["it"], now=NOW) is Health.DEGRADED
    assert fold_health(rules, states, [], now=NOW) is Health.OK

"""How the checks add up to the names and the smoke test: pure functions over a rule a name."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from petsage_grpc.core.check_state import CheckState
from petsage_grpc.core.status import Health, Status, Verdict

__all__ = [
    "LIVENESS", "OVERALL", "READINESS", "STARTUP",
    "Answer", "Rule", "fold_health", "fold_name", "make_rules", "rule_without",
]  # fmt: skip

OVERALL: Final = ""
READINESS: Final = "readiness"
LIVENESS: Final = "liveness"
STARTUP: Final = "startup"

_FOREVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Rule:
    """When a name is SERVING."""

    checks: tuple[str, ...]
    """The checks that it needs."""
    drains: bool = True
    """Whether it turns NOT_SERVING as soon as the service drains."""
    once: bool = False
    """Whether it is enough that each check has passed once, for good."""
    patient: bool = False
    """Whether a check may still be waiting for its first result: nothing is lost by that."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a name answers, and until when that may be said without a new look."""

    status: Status
    fresh_until: float = _FOREVER


def make_rules(
    gates: Mapping[str, Iterable[str]],
    groups: Mapping[str, Iterable[str]],
    services: Iterable[str],
) -> dict[str, Rule]:
    """Give every health name its rule.

    Args:
        gates: what each check gates, by the name of the check.
        groups: the checks of each group, by the name of the group.
        services: names of mounted services, which answer as readiness does.
    """

    def gating(gate: str) -> tuple[str, ...]:
        return tuple(check for check, its_gates in gates.items() if gate in its_gates)

    readiness = Rule(gating(READINESS))
    return {
        OVERALL: readiness,
        READINESS: readiness,
        LIVENESS: Rule(gating(LIVENESS), drains=False, patient=True),
        STARTUP: Rule(gating(STARTUP), drains=False, once=True),
        **dict.fromkeys(services, readiness),
        **{name: Rule(tuple(checks)) for name, checks in groups.items()},
    }


def fold_name(
    rule: Rule, states: Mapping[str, CheckState], *, now: float, draining: bool
) -> Answer:
    """Say what a name answers at the moment `now`."""
    needed = [states[check] for check in rule.checks]
    if draining and rule.drains:
        return Answer(Status.NOT_SERVING)
    if rule.once:
        passed = all(state.has_passed for state in needed)
        return Answer(Status.SERVING if passed else Status.NOT_SERVING)
    good = (Verdict.PASSING, Verdict.PENDING) if rule.patient else (Verdict.PASSING,)
    if all(state.verdict(now) in good for state in needed):
        return Answer(Status.SERVING, min((s.fresh_until for s in needed), default=_FOREVER))
    return Answer(Status.NOT_SERVING)


def rule_without(rule: Rule, checks: Collection[str]) -> Rule:
    """Make the rule that does without these checks."""
    return replace(rule, checks=tuple(check for check in rule.checks if check not in checks))


def fold_health(
    rules: Mapping[str, Rule],
    states: Mapping[str, CheckState],
    broken: Collection[str],
    *,
    now: float,
) -> Health:
    """Say what the `broken` checks, those that do not pass, mean for the whole.

    FAILING when one of them takes a name down now; DEGRADED when every name can do without.
    """
    if not broken:
        return Health.OK
    for rule in rules.values():
        needed = replace(rule, checks=tuple(check for check in rule.checks if check in broken))
        if fold_name(needed, states, now=now, draining=False).status is not Status.SERVING:
            return Health.FAILING
    return Health.DEGRADED

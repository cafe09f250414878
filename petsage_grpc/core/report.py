"""What is known at one moment, as it is handed to those who tell it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from petsage_grpc.core.check_state import CheckState, Result, Transition
from petsage_grpc.core.entry import Entry
from petsage_grpc.core.fold import Rule, fold_health
from petsage_grpc.core.status import Health, Status, Verdict
from petsage_grpc.core.words import Word

__all__ = ["CheckReport", "Override", "Report", "make_report"]


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What is known of one check at one moment."""

    name: str
    verdict: Verdict
    last: Result | None
    failures: int
    """Failures in a row."""
    names: tuple[str, ...]
    """The health names that need it."""
    shared: bool
    """Whether all replicas depend on the same thing."""
    history: tuple[Transition, ...]
    """The last times that it turned, the newest last."""

    @classmethod
    def of(cls, name: str, state: CheckState, verdict: Verdict, names: tuple[str, ...]) -> Self:
        """Say what a state amounts to that has this verdict now."""
        shared, history = state.policy.shared, tuple(state.history)
        return cls(name, verdict, state.last, state.failures, names, shared, history)


@dataclass(frozen=True, slots=True)
class Override:
    """A word that holds, and what it stands over."""

    word: Word
    by_checks: Status | None
    """What the name would answer by its checks; None when it has none."""


@dataclass(frozen=True, slots=True)
class Report:
    """What is known of some checks, or of all, at one moment."""

    health: Health
    """What they amount to."""
    checks: tuple[CheckReport, ...]
    draining: bool
    revision: int
    valid_until: float
    """The moment of the monitor's clock from which on time alone makes it untrue."""
    overrides: tuple[Override, ...] = ()
    """What is said of the names besides."""


def make_report(
    entries: Iterable[Entry],
    rules: Mapping[str, Rule],
    states: Mapping[str, CheckState],
    overrides: Iterable[Override],
    *,
    now: float,
    draining: bool,
    revision: int,
) -> Report:
    """Say what is known of some checks at the moment `now`, and of the names besides."""
    checks, valid_until = [], float("inf")
    for entry in entries:
        verdict = entry.state.verdict(now)
        if verdict is not Verdict.STALE:
            valid_until = min(valid_until, entry.state.fresh_until)
        checks.append(CheckReport.of(entry.name, entry.state, verdict, entry.names))
    broken = {check.name for check in checks if check.verdict is not Verdict.PASSING}
    health, said = fold_health(rules, states, broken, now=now), tuple(overrides)
    for override in said:
        valid_until = min(valid_until, override.word.until)
        if not override.word.serving:
            health = Health.FAILING
    return Report(health, tuple(checks), draining, revision, valid_until, said)

"""What is known at one moment, as it is handed to those who tell it."""

from dataclasses import dataclass
from typing import Self

from petsage_grpc.core.check_state import CheckState, Result, Transition
from petsage_grpc.core.status import Health, Verdict

__all__ = ["CheckReport", "Report"]


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
class Report:
    """What is known of some checks, or of all, at one moment."""

    health: Health
    """What they amount to."""
    checks: tuple[CheckReport, ...]
    draining: bool
    revision: int
    valid_until: float
    """The moment of the monitor's clock from which on time alone makes it untrue."""

"""How often a check is asked, how long it may take and when its results turn its state."""

from dataclasses import dataclass, field
from typing import Final

from petsage_grpc.core.units import Duration

__all__ = ["GATES", "Policy"]

_MOST_IN_A_ROW: Final = 1000

GATES: Final = ("readiness", "liveness", "startup")
"""The names that a check can gate; a group gates its own name."""


def _help(text: str) -> dict[str, str]:
    return {"help": text}


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The settings that every check has, whatever its kind. Times are seconds.

    Raises ValueError, naming the setting, when they contradict each other.
    """

    interval: Duration = field(
        default=Duration(10.0), metadata=_help("time from run to run of a settled check")
    )
    timeout: Duration = field(
        default=Duration(2.0), metadata=_help("a run that takes longer has failed")
    )
    jitter: float = field(
        default=0.1,
        metadata=_help("how much of each interval chance may take off, as a part of it"),
    )
    edge_interval: Duration = field(
        default=Duration(1.0),
        metadata=_help("time from run to run while a contrary or first result is unsettled"),
    )
    fall: int = field(
        default=3, metadata=_help("failures in a row that turn a passing check; 1 for a heartbeat")
    )
    rise: int = field(
        default=2, metadata=_help("passes in a row that turn a failing check; 1 for a heartbeat")
    )
    stale_after: Duration | None = field(
        default=None,
        metadata=_help("age at which a result counts as failing; 3 intervals + timeout if not set"),
    )
    gates: tuple[str, ...] = field(
        default=("readiness", "startup"),
        metadata=_help("names that need this check; [] reports it only"),
    )
    shared: bool = field(
        default=False,
        metadata=_help("all replicas depend on the same thing, and fail together with it"),
    )

    def __post_init__(self) -> None:
        for name, shortest in (("interval", 0.01), ("timeout", 0.001), ("edge_interval", 0.01)):
            self._check_range(name, shortest, f"at least {shortest * 1000:g}ms", float("inf"))
        if not 0 <= self.jitter < 1:
            raise ValueError("jitter must be at least 0 and below 1")
        for name in ("fall", "rise"):
            self._check_range(name, 1, "at least 1", _MOST_IN_A_ROW)
        for gate in self.gates:
            if gate not in GATES:
                raise ValueError(f"gates: {gate!r} is none of {', '.join(GATES)}")
        longest = self.interval + self.timeout
        if self.stale_after is not None and self.stale_after <= longest:
            raise ValueError(
                "stale_after must be longer than an interval and the timeout"
                f" ({longest:g}s), or a healthy check would go stale between two runs"
            )

    def _check_range(self, name: str, least: float, at_least: str, most: float) -> None:
        value = getattr(self, name)
        if isinstance(value, float) and not value > 0:
            raise ValueError(f"{name} must be longer than 0")
        if value < least:
            raise ValueError(f"{name} must be {at_least}")
        if value > most:
            raise ValueError(f"{name} must be at most {most:g}")

    @property
    def believed_for(self) -> float:
        """Seconds for which a result is believed: `stale_after`, or its default."""
        if self.stale_after is not None:
            return self.stale_after
        return 3 * self.interval + self.timeout

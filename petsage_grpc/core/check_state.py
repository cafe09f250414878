"""The state machine of one check: results go in, a verdict comes out, and time can turn it."""

from dataclasses import dataclass

from petsage_grpc.core.policy import Policy
from petsage_grpc.core.status import Verdict

__all__ = ["CheckState", "Result"]


@dataclass(frozen=True, slots=True)
class Result:
    """How one run ended."""

    passed: bool
    at: float
    """When it ended, in seconds of the monitor's clock."""
    wall_time: float
    """When it ended, in seconds since 1970 (UTC), to be shown to people."""
    latency: float = 0.0
    """How long it took, in seconds."""
    message: str = ""
    """What went wrong in words that anybody may read; empty when it passed."""
    detail: str = ""
    """What went wrong in full, for the log and authorised callers alone."""


class CheckState:
    """What the results of one check amount to.

    The first result decides at once, and so does the first after one that went stale. After it
    `fall` failures or `rise` passes in a row turn the state. A result that is too old makes the
    verdict STALE without any new result.
    """

    __slots__ = ("_contrary", "_passing", "failures", "has_passed", "last", "policy")

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.last: Result | None = None
        self.failures = 0
        """Failures in a row."""
        self.has_passed = False
        """Whether it has ever been passing."""
        self._passing = False
        self._contrary = 0  # results in a row that contradict the state

    def observe(self, result: Result) -> None:
        """Take in a result."""
        # One that nothing fresh precedes decides like the first: never green on a failure.
        decides, self.last = result.at >= self.fresh_until, result
        self.failures = 0 if result.passed else self.failures + 1
        needed = self.policy.rise if result.passed else self.policy.fall
        self._contrary = self._contrary + 1 if result.passed != self._passing else 0
        if decides or self._contrary >= needed:
            self._passing = result.passed
            self._contrary = 0
        self.has_passed = self.has_passed or self._passing

    @property
    def fresh_until(self) -> float:
        """The moment of the monitor's clock from which on the last result is not believed."""
        return float("-inf") if self.last is None else self.last.at + self.policy.believed_for

    def verdict(self, now: float) -> Verdict:
        """Say what the check amounts to at the moment `now` of the monitor's clock."""
        if self.last is None:
            return Verdict.PENDING
        if now >= self.fresh_until:
            return Verdict.STALE
        return Verdict.PASSING if self._passing else Verdict.FAILING

    @property
    def next_delay(self) -> float:
        """Seconds until the next run, before jitter: short while the state is unsettled."""
        if self._contrary:
            return min(self.policy.edge_interval, self.policy.interval)
        return self.policy.interval

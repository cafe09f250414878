"""The state machine of one check: results go in, a verdict comes out, and time can turn it."""

import logging
from collections import deque
from dataclasses import dataclass

from petsage_grpc.core.policy import Policy
from petsage_grpc.core.status import Verdict

__all__ = ["CheckState", "Result", "Transition"]


@dataclass(frozen=True, slots=True)
class Result:
    """How one run ended, or what was reported."""

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


@dataclass(frozen=True, slots=True)
class Transition:
    """A time when the verdict turned."""

    verdict: Verdict
    """What it turned to."""
    wall_time: float
    """When, in seconds since 1970 (UTC)."""
    detail: str
    """Why, for the log and authorised callers alone; empty when it passes."""

    def tell(self, log: logging.Logger, name: str, before: Verdict) -> None:
        """Write it to a log: an error, unless the check passes now."""
        level = logging.INFO if self.verdict is Verdict.PASSING else logging.ERROR
        why = f": {self.detail}" if self.detail else ""
        log.log(level, "check %s is %s, was %s%s", name, self.verdict.value, before.value, why)


class CheckState:
    """What the results of one check amount to.

    The first result decides at once, and so does the first after one that went stale; it is
    unsettled until as many more like it have come as it takes to turn the state. After it `fall`
    failures or `rise` passes in a row turn the state. A result that is too old makes the verdict
    STALE without any new result, and so does a first one that never comes.

    Args:
        policy: its settings.
        since: the moment of the monitor's clock from which on the first result is waited for.
        believed_for: seconds for which a result is believed, if not those of the policy.
        history: how many transitions are kept.
    """

    __slots__ = ("_contrary", "_passing", "_unconfirmed", "believed_for", "failures", "has_passed",
                 "history", "last", "policy", "shown", "since")  # fmt: skip

    def __init__(
        self,
        policy: Policy,
        *,
        since: float = float("inf"),
        believed_for: float | None = None,
        history: int = 16,
    ) -> None:
        self.policy = policy
        self.since = since
        self.believed_for = policy.believed_for if believed_for is None else believed_for
        self.last: Result | None = None
        self.failures = 0
        """Failures in a row."""
        self.has_passed = False
        """Whether it has ever been passing."""
        self.shown = Verdict.PENDING
        """The verdict that was noted last."""
        self.history: deque[Transition] = deque(maxlen=history)
        """The last transitions that were noted, the newest last."""
        self._passing = False
        self._contrary = 0  # results in a row that contradict the state
        self._unconfirmed = 0  # results like the first one that are still wanted

    def observe(self, result: Result) -> None:
        """Take in a result."""
        # One that nothing fresh precedes decides like the first: never green on a failure.
        decides = self.last is None or result.at >= self.fresh_until
        self.last = result
        self.failures = 0 if result.passed else self.failures + 1
        needed = self.policy.rise if result.passed else self.policy.fall
        if decides:
            self._passing, self._contrary, self._unconfirmed = result.passed, 0, needed - 1
        elif result.passed == self._passing:
            self._contrary, self._unconfirmed = 0, max(0, self._unconfirmed - 1)
        else:
            self._contrary += 1
            if self._contrary >= needed:
                self._passing, self._contrary, self._unconfirmed = result.passed, 0, 0
        self.has_passed = self.has_passed or self._passing

    @property
    def fresh_until(self) -> float:
        """The moment of the monitor's clock from which on the last result is not believed."""
        return (self.since if self.last is None else self.last.at) + self.believed_for

    @property
    def settled(self) -> bool:
        """Whether more results of the same kind would change nothing."""
        return not (self._contrary or self._unconfirmed)

    def verdict(self, now: float) -> Verdict:
        """Say what the check amounts to at the moment `now` of the monitor's clock."""
        if now >= self.fresh_until:
            return Verdict.STALE
        if self.last is None:
            return Verdict.PENDING
        return Verdict.PASSING if self._passing else Verdict.FAILING

    @property
    def next_delay(self) -> float:
        """Seconds from the last run to the next, before jitter: short while it is unsettled."""
        if self.settled:
            return self.policy.interval
        return min(self.policy.edge_interval, self.policy.interval)

    def note(self, now: float, wall_time: float) -> Transition | None:
        """Note what the verdict is now; return the transition if it is another than before."""
        verdict = self.verdict(now)
        if verdict is self.shown:
            return None
        self.shown = verdict
        detail = "" if verdict is Verdict.PASSING or self.last is None else self.last.detail
        if verdict is Verdict.STALE:
            detail = "it has never had a result" if self.last is None else "no news of it for long"
        transition = Transition(verdict, wall_time, detail)
        self.history.append(transition)
        return transition

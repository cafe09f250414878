"""What the monitor keeps of each check, in one place."""

import asyncio
from dataclasses import dataclass

from petsage_grpc.core.check import Check
from petsage_grpc.core.check_state import CheckState
from petsage_grpc.core.clock import Timer
from petsage_grpc.core.passive import Said
from petsage_grpc.core.runner import Runner

__all__ = ["Entry"]


@dataclass(slots=True)
class Entry:
    """A check with all that the monitor keeps of it."""

    name: str
    check: Check
    state: CheckState
    names: tuple[str, ...]
    runner: Runner | None = None  # a passive check has none
    phased: bool = False  # whether chance has given it a place of its own in its interval
    next_run: Timer | None = None
    next_at: float = float("inf")
    again: bool = False  # whether something was heard while a run was under way
    held: list[Said] | None = None  # while watchers do not know of a silence yet
    staleness: Timer | None = None

    def holds(self, said: Said) -> bool:
        """Hold back a report if watchers do not know of a silence yet; say whether it did."""
        if self.held is None:
            return False
        self.held.append(said)
        return True

    @property
    def edge(self) -> float:
        """Seconds that lie at least between two runs of its own schedule."""
        return min(self.state.policy.edge_interval, self.state.policy.interval)

    def halt(self) -> "asyncio.Future[None] | None":
        """Plan nothing more, and end the run under way; return what ends with it."""
        for timer in (self.next_run, self.staleness):
            if timer is not None:
                timer.cancel()
        return None if self.runner is None else self.runner.stop()

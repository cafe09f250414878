"""Knows what was true when, and finds the answers that can not be right."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from petsage_grpc.core.policy import Policy
from tests.observers import failing_bound, recovery_bound

__all__ = ["Answer", "Oracle"]

SERVING, NOT_SERVING = "SERVING", "NOT_SERVING"
_TOLERANCE = 1.0
"""Seconds that a busy machine may take to tell what is so."""


@dataclass(frozen=True)
class Answer:
    """What somebody was told."""

    name: str
    begun: float
    ended: float
    said: str
    """A status, or the error that came instead of one."""
    throughout: bool = False
    """Whether it held from the beginning to the end, as what a watcher was told last does."""

    def concerns(self, begun: float, ended: float) -> bool:
        """Say whether it has to do with a time span: lies inside of it, or touches it."""
        if self.throughout:
            return self.begun < ended and begun < self.ended
        return begun <= self.begun and self.ended <= ended


@dataclass
class Oracle:
    """The truth about dependencies and about the service itself; any thread may tell it.

    Args:
        policy: that of all checks.
    """

    policy: Policy
    answers: list[Answer] = field(default_factory=list)
    _spans: list[tuple[str, float, float, bool]] = field(default_factory=list)
    _since: dict[str, tuple[float, bool]] = field(default_factory=dict)
    _lives: list[tuple[float, float]] = field(default_factory=list)
    _born: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def is_so(self, name: str, *, up: bool) -> None:
        """From now on what the name depends on works, or does not."""
        with self._lock:
            self._since[name] = time.monotonic(), up

    def changes(self, name: str) -> None:
        """From now on nobody knows."""
        with self._lock:
            if name in self._since:
                since, up = self._since.pop(name)
                self._spans.append((name, since, time.monotonic(), up))

    def serves(self) -> None:
        """From now on the service listens."""
        self._born = time.monotonic()

    def leaves(self) -> None:
        """From now on the service is being stopped."""
        self._lives.append((self._born, time.monotonic()))

    def wrong(self) -> Iterator[str]:
        """Find the answers that can not be right; all is over by now."""
        for name in [*self._since]:
            self.changes(name)
        forced = [*self._forced()]
        for answer in self.answers:
            for name, begun, ended, status in forced:
                known = name == answer.name and answer.said in (SERVING, NOT_SERVING)
                other = known and status != answer.said
                if other and answer.concerns(begun, ended):
                    late = min(answer.ended, ended) - begun
                    yield f"{name} was told {answer.said} {late:.2f} s beyond the bound"

    def missed(self) -> Iterator[str]:
        """Find what was asked while the service was there, and not answered in time."""
        for answer in self.answers:
            lived = any(a <= answer.begun and answer.ended <= b for a, b in self._lives)
            if lived and answer.said not in (SERVING, NOT_SERVING):
                yield f"{answer.name}: {answer.said}"

    def _forced(self) -> Iterator[tuple[str, float, float, str]]:
        """Find the time spans in which only one status is right."""
        fails = failing_bound(self.policy) + _TOLERANCE
        recovers = recovery_bound(self.policy) + _TOLERANCE
        for name, begun, ended, up in self._spans:
            if not up:
                if begun + fails < ended:
                    yield name, begun + fails, ended, NOT_SERVING
                continue
            for born, left in self._lives:
                first, last = max(begun, born) + recovers, min(ended, left)
                if first < last:
                    yield name, first, last, SERVING

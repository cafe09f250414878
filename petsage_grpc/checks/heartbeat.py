"""Knows whether a part of the application is alive: it beats, and fails when it falls silent."""

from collections.abc import Callable, Iterator, Mapping, MutableSequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

from petsage_grpc.core.passive import PassiveCheck, Said
from petsage_grpc.core.policy import GATES
from petsage_grpc.core.units import Duration

__all__ = ["HeartbeatCheck"]


@dataclass(kw_only=True, eq=False)
class HeartbeatCheck(PassiveCheck):
    """Fails when the application has not beaten for too long: its loop, a pool, a worker."""

    default_policy: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"gates": GATES, "fall": 1, "rise": 1}  # what the application says is so at once
    )

    max_silence: Duration = field(
        default=Duration(10.0), metadata={"help": "time without a beat that is still no failure"}
    )

    def __post_init__(self) -> None:
        """Refuse what can never pass."""
        if not 0 < self.max_silence < float("inf"):
            raise ValueError('max_silence must be longer than 0, and end: write it like "10s"')
        self._cell: MutableSequence[float] = [0.0, 0.0]
        self._heard_beat = 0.0

    def beat(self) -> None:
        """Say that all is well; from any thread, and as often as one likes.

        It writes the time to memory. Only while the monitor waits for it to turn a state, it also
        wakes the monitor.
        """
        now, cell = self._now(), self._cell
        if 0.0 < cell[0] < now - self.max_silence:
            cell[1] = now
        cell[0] = now
        if self.wanted:
            self._tell()

    def keep_in(self, cell: MutableSequence[float]) -> None:
        """Keep the time of the last beat elsewhere from now on, such as in shared memory.

        Args:
            cell: two times, in seconds since the machine started: of the last beat, and of the last
                that broke too long a silence.
        """
        for item, kept in enumerate(self._cell):
            cell[item] = max(cell[item], kept)
        self._cell = cell

    def _last_lapse(self) -> float:
        return max(super()._last_lapse(), self._cell[1])

    def connect(self, now: Callable[[], float], hear: Callable[[], None]) -> None:
        """Begin to pass beats on, the last one before this too."""
        self._heard_beat = 0.0
        super().connect(now, hear)
        if self._cell[0]:
            self._tell()

    def news(self) -> Iterator[Said]:
        """Take what was reported otherwise, and then the last beat, if that is newer."""
        yield from super().news()
        beaten = self._cell[0]
        if beaten > self._heard_beat:
            self._heard_beat = beaten
            yield from self._newer(Said(beaten, ""))

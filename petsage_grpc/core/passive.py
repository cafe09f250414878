"""Passive checks: nobody runs them, somebody reports them, and silence makes them stale."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Self

from petsage_grpc.core.check import Check
from petsage_grpc.core.check_state import Result
from petsage_grpc.core.clock import Clock, boot_time
from petsage_grpc.core.runner import show
from petsage_grpc.core.text import plain

__all__ = ["PassiveCheck", "Said"]

_MOST_WAITING: Final = 32
"""Reports that wait for the monitor at most; the oldest is dropped for one more."""


@dataclass(frozen=True, slots=True)
class Said:
    """One report."""

    at: float
    """When, in seconds of the monitor's clock."""
    error: str
    """What is wrong; empty when all is well."""

    def as_result(self, check: Check, clock: Clock) -> Result:
        """Make it one of a check's results."""
        wall_time = clock.wall_time() - (clock.now() - self.at)
        message = "reported as failing" if self.error else ""
        return Result(not self.error, self.at, wall_time, 0.0, message, show(check, self.error))


def _tell_nobody() -> None:
    """Stand in for a monitor."""


class PassiveCheck(Check):
    """Is told how things are, from any thread, and counts as failing when nobody says anything.

    As long as all is well a report is one write to memory: the monitor looks at it when the one
    before has become too old.
    """

    outside = False
    in_application = True

    max_silence: float
    """Seconds for which a report is believed."""

    _now: Callable[[], float]
    _tell: Callable[[], None]
    _waiting: deque[Said]
    _heard: Said | None = None

    newest: Said | None = None
    """The last report."""

    _lapsed_at: float = 0.0
    _lapse_told: float = 0.0

    wanted: bool = True
    """Whether the monitor wants to hear of every report, for it may turn the state."""

    def __new__(cls, *_: object, **__: object) -> Self:
        """Make what every report needs, whatever the constructor of the kind does."""
        made = super().__new__(cls)
        made._now, made._tell = boot_time, _tell_nobody
        made._waiting = deque(maxlen=_MOST_WAITING)
        return made

    def connect(self, now: Callable[[], float], hear: Callable[[], None]) -> None:
        """Begin to pass reports on: `hear` is called on the running event loop when there are some.

        Args:
            now: the clock by which reports are dated, in seconds.
            hear: takes the news.
        """
        loop = asyncio.get_running_loop()

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has closed: nobody is left to tell
                loop.call_soon_threadsafe(hear)

        self._now, self._tell, self._heard = now, tell, None
        self._lapse_told = self._last_lapse()
        if self._waiting:
            tell()

    def disconnect(self) -> None:
        """Pass nothing on any more."""
        self._now, self._tell = boot_time, _tell_nobody

    def report(self, error: str | BaseException = "") -> None:
        """Say how things are; it may be called from any thread and never waits.

        Args:
            error: what is wrong, in one line, or an exception; empty when all is well.
        """
        wrong = (show(self, plain(error)) or "failed") if error else ""
        said = Said(self._now(), wrong)
        self._follow(said)
        if wrong or self.wanted:
            self._waiting.append(said)
            self._tell()

    def _follow(self, said: Said) -> None:
        """Make a report the newest; what it ends is noted before it."""
        if self.newest is not None and said.at - self.newest.at > self.max_silence:
            self._lapsed_at = said.at
        self.newest = said

    def _last_lapse(self) -> float:
        """Say when too long a silence was broken last."""
        return self._lapsed_at

    def broke_silence(self) -> bool:
        """Say whether too long a silence was broken since this was asked last.

        The monitor may not have noticed: its loop may have stood still meanwhile.
        """
        told, self._lapse_told = self._lapse_told, self._last_lapse()
        return self._lapse_told > told

    def news(self) -> Iterator[Said]:
        """Take the reports that the monitor has not had yet, the oldest first."""
        while self._waiting:
            yield from self._newer(self._waiting.popleft())
        if self.newest is not None:
            yield from self._newer(self.newest)

    def _newer(self, said: Said) -> Iterator[Said]:
        if self._heard is None or (said is not self._heard and said.at >= self._heard.at):
            self._heard = said
            yield said

    async def run(self) -> None:
        """Do nothing: nobody runs it."""

"""Checks of the application, as its plane's process has them: asked, or heard of."""

import asyncio
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final

from petsage_grpc.checks.heartbeat import HeartbeatCheck
from petsage_grpc.core.check import Check, CheckFailedError
from petsage_grpc.core.passive import PassiveCheck, Said
from petsage_grpc.core.units import Duration

__all__ = ["APPLICATION_CHECK", "ASKED", "BEATEN", "TOLD", "AskedCheck", "BeatenCheck", "ToldCheck"]

ASKED: Final = "asked of the application"
BEATEN: Final = "beaten by the application"
TOLD: Final = "reported by the application"
"""The kinds that stand, in the plane's process, for checks of the application's."""

APPLICATION_CHECK: Final = "application"
"""The heartbeat of the application's process itself."""

_LOOK_AGAIN: Final = 0.05
"""Seconds from look to look for the beat that would turn a heartbeat, while one is waited for."""

_ids: Final = itertools.count(time.time_ns())
"""Numbers that no process before this one has used."""


@dataclass(kw_only=True, eq=False)
class AskedCheck(Check):
    """Has the application run it, and waits for what it says."""

    outside: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Begin without a run, and without anybody to ask."""
        self.ask: Callable[[str, int], None] = lambda *_: None
        """Asks the application to "run" it or to "cancel" a run, by the number of the run."""
        self._run = 0
        self._ended: asyncio.Future[str] | None = None

    async def run(self) -> None:
        """Wait until the run in the application has ended, also when cancelled meanwhile.

        That is how the monitor knows that it still hangs. Cancelled once more, it gives up.
        """
        self._run, self._ended = next(_ids), asyncio.get_running_loop().create_future()
        self.doing = "waiting for the application"
        self.ask("run", self._run)
        cancelled = False
        while not self._ended.done():
            try:
                await asyncio.shield(self._ended)
            except asyncio.CancelledError:
                if cancelled:
                    raise
                cancelled = True
                self.ask("cancel", self._run)
        if cancelled:
            raise asyncio.CancelledError
        if wrong := self._ended.result():
            raise CheckFailedError(wrong)

    def end(self, run: int, wrong: str) -> None:
        """Take the result of a run; no word means that it passed."""
        if run == self._run and self._ended is not None and not self._ended.done():
            self._ended.set_result(wrong)

    def wait_in_line(self, run: int, *, waiting: bool) -> None:
        """Take the word that a run waits for its turn, or has got it."""
        if run == self._run:
            self.in_line(waiting=waiting)

    def say_doing(self, run: int, doing: str) -> None:
        """Take the word on what a run is waiting for."""
        if run == self._run:
            self.doing = doing


@dataclass(kw_only=True, eq=False)
class ToldCheck(PassiveCheck):
    """Is reported by the application."""

    max_silence: Duration

    def take(self, said: Said) -> None:
        """Take in a report."""
        if self.newest is None or said.at > self.newest.at:  # older ones are said again
            self._follow(said)
        self._waiting.append(said)
        self._tell()


@dataclass(kw_only=True, eq=False)
class BeatenCheck(HeartbeatCheck):
    """A heartbeat in shared memory; while one is waited for, it looks for it again and again."""

    def __post_init__(self) -> None:
        """Begin with a first beat awaited."""
        super().__post_init__()
        self._awaited = True
        self._looking: asyncio.TimerHandle | None = None
        self._hear: Callable[[], None] = lambda: None

    def connect(self, now: Callable[[], float], hear: Callable[[], None]) -> None:
        """Begin to pass beats on."""
        super().connect(now, hear)
        self._hear = hear
        self._look()

    def take(self, said: Said) -> None:
        """Take in a report of a failure."""
        self._waiting.append(said)
        self._tell()

    @property
    def wanted(self) -> bool:
        """Whether the monitor wants to hear of every beat."""
        return self._awaited  # one that nobody has connected is not looked for

    @wanted.setter
    def wanted(self, wanted: bool) -> None:
        self._awaited = wanted
        if wanted and self._looking is None:
            self._look()

    async def close(self) -> None:
        """Look no more."""
        self._awaited = False
        if self._looking is not None:
            self._looking.cancel()

    def _look(self) -> None:
        self._looking = None
        if self._awaited:
            self._looking = asyncio.get_running_loop().call_later(_LOOK_AGAIN, self._look)
            if self._cell[0] > self._heard_beat:
                self._hear()

"""What the plane's process has to know of the application: kept here, and told to each new one."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from petsage_grpc.checks.heartbeat import HeartbeatCheck
from petsage_grpc.core.clock import boot_time
from petsage_grpc.core.passive import PassiveCheck
from petsage_grpc.errors import PlaneError, SettingsError
from petsage_grpc.plane.answering import Answering
from petsage_grpc.plane.cells import MOST_CELLS, PLANE, Cells
from petsage_grpc.plane.host import Said
from petsage_grpc.plane.relay import APPLICATION_CHECK
from petsage_grpc.settings import CheckSettings, Settings

__all__ = ["Ledger"]

_MOST_REPORTS: Final = 32


class Ledger:
    """The checks, reports and words of the application, each as the message that tells of it.

    All but `prepare` and `heartbeats` belongs to the link's loop.

    Args:
        settings: what the process has in its settings anyway.
        cells: where heartbeats are kept.
        answering: runs the checks of this process.
        put: sends a message to the process, under a key.
        said: what was said of names before the start.
    """

    def __init__(
        self,
        settings: Settings,
        cells: Cells,
        answering: Answering,
        put: Callable[[object, tuple[Any, ...]], None],
        said: Said,
    ) -> None:
        self._settings = settings
        self._cells = cells
        self._answering = answering
        self._put = put
        self._lock = threading.Lock()
        self._heartbeats: dict[str, tuple[int, float]] = {}
        self._passive: list[PassiveCheck] = []
        self._words: dict[str, tuple[Any, Any]] = {n: (word, None) for n, word in said.items()}
        self.messages: dict[object, tuple[Any, ...]] = {
            ("word", name): ("word", name, *words) for name, words in self._words.items()
        }
        """What each new process is told, by key."""

    def prepare(self, name: str, made: CheckSettings) -> None:
        """Make room for a check, so that its heartbeat can be beaten at once; from any thread.

        Raises SettingsError when it can not have this name, PlaneError when there is no room.
        """
        if name == APPLICATION_CHECK:
            raise SettingsError(
                f"checks.{name}: that is the heartbeat of the application's process:"
                " name it otherwise"
            )
        if not isinstance(made.check, HeartbeatCheck):
            return
        with self._lock:
            number = len(self._heartbeats) + PLANE + 1
            if number >= MOST_CELLS:
                raise PlaneError(f"a plane has at most {MOST_CELLS - PLANE - 1} heartbeats")
            self._heartbeats[name] = number, boot_time()
        made.check.wanted = False  # the process looks for itself
        made.check.keep_in(self._cells[number])

    def heartbeats(self) -> dict[str, tuple[int, float]]:
        """Say in which cell each heartbeat is kept, and since when it is waited for."""
        with self._lock:
            return dict(self._heartbeats)

    def declare(self, name: str, made: CheckSettings) -> None:
        """Take in a check that belongs to this process, and has been prepared."""
        check, silence = made.check, None
        if isinstance(check, PassiveCheck):
            silence = float(check.max_silence)
            self._passive.append(check)
            check.connect(boot_time, partial(self._report, name, check))
        else:
            self._answering.add(name, check, made.policy.timeout)
        if name not in self._settings.checks:
            place = self._heartbeats.get(name, (0, boot_time()))
            self.keep(("check", name), ("check", name, made.kind, made.policy, silence, place))

    def say(self, name: str, word: tuple[bool, str], until: float | None) -> None:
        """Take in a word on a name, up to a moment or for good."""
        lasting, _ = self._words.get(name, (None, None))
        words = (word, None) if until is None else (lasting, (*word, until))
        self._words[name] = words
        self.keep(("word", name), ("word", name, *words))

    def take_back(self, name: str) -> None:
        """Forget what was said of a name."""
        self._words.pop(name, None)
        self.messages.pop(("word", name), None)
        self._put(("word", name), ("word", name, None, None))

    def keep(self, key: object, message: tuple[Any, ...]) -> None:
        """Send something that each new process has to know, too."""
        self.messages[key] = message
        self._put(key, message)

    def close(self) -> None:
        """Let go of the checks that are reported: nobody hears of them any more."""
        for check in self._passive:
            check.disconnect()
            if isinstance(check, HeartbeatCheck):
                check.keep_in([0.0, 0.0])

    def _report(self, name: str, check: PassiveCheck) -> None:
        """Hand on what is reported; beats of a heartbeat are seen without it."""
        beats = isinstance(check, HeartbeatCheck)
        said = [(said.at, said.error) for said in check.news() if said.error or not beats]
        if said:
            key = ("reports", name)
            before = self.messages.get(key, ("reports", name, []))[2]
            self.keep(key, ("reports", name, [*before, *said][-_MOST_REPORTS:]))

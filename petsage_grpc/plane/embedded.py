"""What an embedded plane is to its application, wherever it runs: checks, heartbeats and words."""

import asyncio
import os
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Executor
from typing import Any, Final, Generic, TypeVar

from petsage_grpc.core.fold import OVERALL, READINESS, STARTUP
from petsage_grpc.core.text import plain, printable, utf8
from petsage_grpc.core.units import to_seconds
from petsage_grpc.core.words import MAX_WORDS
from petsage_grpc.errors import PlaneError, SettingsError
from petsage_grpc.plane.heartbeats import Heartbeat, beat_by_loop, refuse_elsewhere, through_pool
from petsage_grpc.plane.host import Hearer, Said
from petsage_grpc.plane.registry import Registry, plain_setting
from petsage_grpc.settings import RESERVED_NAMES, CheckSettings, Settings
from petsage_grpc.settings_load import load_with_table

__all__ = ["EmbeddedPlane", "Loaded", "load_embedded"]

Loaded = tuple[Settings, dict[str, Any]]
"""Settings, and the table of which they were made."""

_LONGEST_REASON: Final = 1_000
_OWN_SERVICE: Final = "petsage.v1.SmokeTestService"

_Host = TypeVar("_Host", bound=Hearer)


def load_embedded(path: str | os.PathLike[str] | None, given: Mapping[str, Any]) -> Loaded:
    """Load the settings of a plane that is embedded. Raises SettingsError."""
    given = plain_setting(given)
    made, table = load_with_table(path, **given)
    if "checks" not in table:  # the application's logging is its own: told, but it gates nothing
        checks = {"disk": {"kind": "disk"}, "log": {"kind": "log", "gates": []}}
        made, table = load_with_table(path, **{**given, "checks": checks})
    for key in ("features_package", "features"):
        if getattr(made, key):
            raise SettingsError(
                f"{key}: a plane hosts no features, petsage-grpc serve does: remove it"
            )
    return made, table


class EmbeddedPlane(Registry, Generic[_Host]):
    """Takes in what an application says to its plane; from any thread, before the start too.

    Args:
        settings: what the plane is made of.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        """What it was made of."""
        super().__init__(settings.checks, settings.log_level)
        self._lock = threading.RLock()  # a signal handler may come while it is held
        self._host: _Host | None = None
        self._beating: list[tuple[Heartbeat, Callable[[], None]]] = []
        self._said: dict[str, tuple[bool, str]] = {}
        self._named: set[str] = set()
        self._left = ""
        self._forked = ""
        self._starting = False
        self._drain_asked = False  # while it starts

    def drain(self) -> None:
        """Turn every name but liveness NOT_SERVING, for good, and go on answering.

        The application calls it when it is told to stop, and goes on serving its own calls for
        `settings.drain_delay` seconds, until those who send traffic have noticed.
        One that has been stopped has nothing to drain: a second signal may come late.
        """
        with self._lock:
            if self._host is None and self._starting:
                self._drain_asked = True
            elif self._host is not None or self._forked or not self._left:
                self._require_running().drain()

    def set(
        self,
        name: str,
        *,
        serving: bool,
        reason: str = "",
        ttl: float | str | None = None,
    ) -> None:
        """Say whether a name is SERVING, whatever its checks say.

        With a time to live it holds so long, and then what was said without one holds again. A name
        that has checks of its own is SERVING against them only for a time. While something is said
        of a name, SmokeTest tells it, and what the checks say.

        Args:
            name: a health name that there is, or a new one; "readiness" stands for all that do as
                it does.
            serving: what it answers.
            reason: why, for the log and authorised callers.
            ttl: seconds for which it holds, or a duration like "30s"; such a word can be said while
                the plane runs.
        """
        name = self._name(name)
        if not isinstance(serving, bool):  # "no" would be taken for True
            raise TypeError(f"serving is True or False, and not {serving!r}")
        ttl = None if ttl is None else to_seconds(ttl, "ttl")
        if ttl is not None and not 0 < ttl < float("inf"):
            raise ValueError("ttl must be longer than 0, and end; leave it out for no end")
        if serving and ttl is None and self._has_checks(name):
            raise ValueError(
                f"{name!r} has checks, which this would overrule for ever: give it a ttl,"
                f" or take back what was said of it with clear({name!r})"
            )
        reason = printable(plain(reason)[:_LONGEST_REASON])
        with self._lock:
            self._refuse_copy()
            host = self._host if ttl is None else self._require_running()
            if name not in self._named and len(self._named) >= MAX_WORDS:
                raise ValueError(f"something is said of {MAX_WORDS} names already: clear one")
            self._named.add(name)
            if ttl is None:
                self._said[name] = serving, reason
            if host is not None:
                host.say(name, serving=serving, reason=reason, ttl=ttl)

    def clear(self, name: str) -> None:
        """Take back what was said of a name: its checks count again; without any it is unknown."""
        name = self._name(name)
        with self._lock:
            self._refuse_copy()
            self._named.discard(name)
            self._said.pop(name, None)
            if self._host is not None:
                self._host.take_back(name)

    def loop_heartbeat(
        self,
        name: str = "loop",
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        max_silence: float | str = 10.0,
        **policy: Any,  # noqa: ANN401 -- as many types as settings
    ) -> Heartbeat:
        """Have an event loop beat by itself: silence means that something blocks it, or it ended.

        Args:
            name: the name of the check.
            loop: the running one if not given.
            max_silence: seconds that the loop may be blocked, or a duration like "10s".
            policy: `gates` and so on, as in the settings.
        """
        loop = asyncio.get_running_loop() if loop is None else loop
        if loop.is_closed():
            raise ValueError(f"heartbeat {name}: its event loop is closed, and never beats")
        beat = self.heartbeat(name, max_silence=max_silence, **policy)
        beat_by_loop(beat, loop)
        return beat

    def pool_heartbeat(
        self,
        name: str,
        pool: Executor,
        *,
        max_silence: float | str = 10.0,
        gates: tuple[str, ...] = (READINESS, STARTUP),
        **policy: Any,  # noqa: ANN401 -- as many types as settings
    ) -> Heartbeat:
        """Send a beat through the queue of a pool again and again: silence means that it is full.

        A full pool is no reason to restart the process, so liveness does not need it.

        Args:
            name: the name of the check.
            pool: such as the one of a grpc server.
            max_silence: seconds that a task may wait in its queue, or a duration like "10s".
            gates: the names that need it.
            policy: other settings of the check.
        """
        refuse_elsewhere(pool, name)
        beat = self.heartbeat(name, max_silence=max_silence, gates=gates, **policy)
        send = through_pool(beat, pool)
        with self._lock:
            self._beating.append((beat, send))
            if self._host is not None:
                self._host.every(beat.pause, send)
        return beat

    def _tell_all(self, host: _Host, given: Collection[str], said: Said) -> None:
        """Tell a new host what it was not given: it all may have been said while it started."""
        for name, made in self.checks.items():
            if name not in given:
                host.add_check(name, made)
        for beat, send in self._beating:
            host.every(beat.pause, send)
        self._named = set(self._said)
        for name in said.keys() - self._said.keys():
            host.take_back(name)
        for name, (serving, reason) in self._said.items():
            if said.get(name) != (serving, reason):
                host.say(name, serving=serving, reason=reason, ttl=None)
        if self._drain_asked:
            host.drain()

    def _refuse_copy(self) -> None:
        """Raise PlaneError in a child that was forked while this ran: nobody would hear of it."""
        if self._forked:
            raise PlaneError(self._forked)

    def _take_in(self, name: str, made: CheckSettings) -> None:
        with self._lock:
            self._refuse_copy()
            if name in self._configured:
                raise ValueError(f"the settings have a check {name!r}: name this one otherwise")
            self._refuse_second(name)  # again: another thread may have been quicker
            if self._host is not None:
                self._host.add_check(name, made)  # first: what it refuses is not kept
            super()._take_in(name, made)

    def _require_running(self) -> _Host:
        with self._lock:
            if self._host is None:
                raise PlaneError(
                    self._forked or self._left or "the plane has not been started: start it first"
                )
            return self._host

    def _name(self, name: str) -> str:
        """Give the name that this one stands for. Raises an error when there can be none such."""
        if not isinstance(name, str):
            raise TypeError(f"a health name is a text, and not a {type(name).__name__}")
        try:
            name = utf8(plain(name))
        except ValueError as error:
            raise ValueError(f"the name {plain(name)!r}: {error}") from None
        limit = self.settings.max_name_length
        if len(name.encode()) > limit:
            raise ValueError(f"the name is longer than max_name_length = {limit} bytes")
        return READINESS if name == OVERALL else name

    def _has_checks(self, name: str) -> bool:
        named = (*RESERVED_NAMES, _OWN_SERVICE, *self.settings.services)
        return name in named or name in self.settings.groups

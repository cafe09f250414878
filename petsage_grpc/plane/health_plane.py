"""What an application embeds: a health plane on a port of its own, which outlives its trouble."""

import asyncio
import atexit
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Executor
from types import TracebackType
from typing import Any, Final, Literal, Self

from petsage_grpc.core.fold import READINESS, STARTUP
from petsage_grpc.core.text import printable
from petsage_grpc.errors import PlaneError, SettingsError
from petsage_grpc.plane.handover import HANDOVER
from petsage_grpc.plane.heartbeats import Heartbeat, beat_by_loop, through_pool
from petsage_grpc.plane.host import Host
from petsage_grpc.plane.registry import Registry
from petsage_grpc.settings import RESERVED_NAMES, CheckSettings, Settings
from petsage_grpc.settings_load import load_with_table

__all__ = ["HealthPlane", "Isolation"]

Isolation = Literal["thread", "process"]

Loaded = tuple[Settings, dict[str, Any]]
"""Settings, and the table of which they were made."""

_ISOLATIONS: Final = ("thread", "process")
_LONGEST_REASON: Final = 1_000


class HealthPlane(Registry):
    """The health service of an application: with a port of its own, and a life of its own.

    Used as a context manager it answers inside of the block. Checks, heartbeats and words may be
    given before it is started and while it runs, from any thread; nothing but `start` and `stop`
    waits.

    Made by `from_settings`.
    """

    def __init__(self, load: Callable[[], Loaded], isolation: Isolation) -> None:
        self._load = load
        self._isolation = isolation
        self.settings, self._table = load()
        """What it was made of."""
        super().__init__(self.settings.checks, self.settings.log_level)
        self._lock = threading.RLock()  # a signal handler may come while it is held
        self._host: Host | None = None
        self._addresses: tuple[str, ...] = ()
        self._beating: list[tuple[float, Callable[[], None]]] = []
        self._said: dict[str, tuple[bool, str]] = {}
        self._draining = False
        self._left = ""

    @classmethod
    def from_settings(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        isolation: Isolation = "thread",
        **settings: Any,  # noqa: ANN401 -- values of any setting
    ) -> Self:
        """Make a plane of a settings file, variables PETSAGE_… over it, and keywords over both.

        Args:
            path: a TOML file; without one the defaults hold.
            isolation: "thread", or "process" for one that answers on time even while the
                application holds the interpreter, is stopped or dies.
            settings: any setting by its name, as it would stand in the file.

        Raises SettingsError with one line that names the source, the key and the mend.
        """
        if isolation not in _ISOLATIONS:
            raise ValueError(f"isolation: {isolation!r} is none of {', '.join(_ISOLATIONS)}")

        def load() -> Loaded:
            made, table = load_with_table(path, **settings)
            for key in ("features_package", "features"):
                if getattr(made, key):
                    raise SettingsError(
                        f"{key}: a plane hosts no features, petsage-grpc serve does: remove it"
                    )
            return made, table

        return cls(load, isolation)

    @property
    def address(self) -> str:
        """Where it listens, with the port that was bound; the first one if there are several."""
        return self.addresses[0]

    @property
    def addresses(self) -> tuple[str, ...]:
        """All addresses where it listens."""
        self._require_running()
        return self._addresses

    def start(self) -> Self:
        """Listen, and start the checks; it answers when this returns.

        Raises BindError when an address can not be had, PlaneError when it runs already or can not
        run in this process.
        """
        with self._lock:
            if self._host is not None:
                raise PlaneError("the plane runs already: stop it before it is started again")
            if self._left:  # a second life begins with new settings, and new checks of them
                self.settings, self._table = self._load()
                self._configured = self.settings.checks
            self._left, self._draining = "", False
            host = self._make_host()
            HANDOVER.begin()
            try:
                self._addresses = host.start()
            except BaseException:
                HANDOVER.end()
                raise
            self._host = host
            _running.add(self)
            for seconds, call in self._beating:
                host.every(seconds, call)
            for name, (serving, reason) in self._said.items():
                host.say(name, serving=serving, reason=reason, ttl=None)
        return self

    def drain(self) -> None:
        """Turn every name but liveness NOT_SERVING, for good, and go on answering.

        The application calls it when it is told to stop, and goes on serving its own calls for
        `settings.drain_delay` seconds, until those who send traffic have noticed.
        """
        self._require_running().drain()

    def stop(self, grace: float = 1.0) -> None:
        """Tell the watchers that nothing serves any more, and stop; a second time does nothing.

        Args:
            grace: seconds that calls under way get to end.
        """
        with self._lock:
            host, self._host = self._host, None
            if host is None:
                return
            self._left = "it has been stopped: start it again first"
            _running.discard(self)
            try:
                host.stop(grace)
            finally:
                HANDOVER.end()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def set(
        self,
        name: str,
        *,
        serving: bool,
        reason: str = "",
        ttl: float | None = None,
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
            ttl: seconds for which it holds.
        """
        self._refuse_name(name)
        if ttl is not None and not 0 < ttl < float("inf"):
            raise ValueError("ttl must be longer than 0, and end; leave it out for no end")
        if serving and ttl is None and self._has_checks(name):
            raise ValueError(
                f"{name!r} has checks, which this would overrule for ever: give it a ttl,"
                f" or take back what was said of it with clear({name!r})"
            )
        serving, reason = bool(serving), printable(reason[:_LONGEST_REASON])
        with self._lock:
            if ttl is None:
                self._said[name] = serving, reason
            if self._host is not None or ttl is not None:
                self._require_running().say(name, serving=serving, reason=reason, ttl=ttl)

    def clear(self, name: str) -> None:
        """Take back what was said of a name: its checks count again; without any it is unknown."""
        self._refuse_name(name)
        with self._lock:
            self._said.pop(name, None)
            if self._host is not None:
                self._host.take_back(name)

    def loop_heartbeat(
        self,
        name: str = "loop",
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        max_silence: float = 10.0,
        **policy: Any,  # noqa: ANN401 -- as many types as settings
    ) -> Heartbeat:
        """Have an event loop beat by itself: silence means that something blocks it, or it ended.

        Args:
            name: the name of the check.
            loop: the running one if not given.
            max_silence: seconds that the loop may be blocked.
            policy: `gates` and so on, as in the settings.
        """
        loop = asyncio.get_running_loop() if loop is None else loop
        beat = self.heartbeat(name, max_silence=max_silence, **policy)
        beat_by_loop(beat, loop)
        return beat

    def pool_heartbeat(
        self,
        name: str,
        pool: Executor,
        *,
        max_silence: float = 10.0,
        gates: tuple[str, ...] = (READINESS, STARTUP),
        **policy: Any,  # noqa: ANN401 -- as many types as settings
    ) -> Heartbeat:
        """Send a beat through the queue of a pool again and again: silence means that it is full.

        A full pool is no reason to restart the process, so liveness does not need it.

        Args:
            name: the name of the check.
            pool: such as the one of a grpc server.
            max_silence: seconds that a task may wait in its queue.
            gates: the names that need it.
            policy: other settings of the check.
        """
        beat = self.heartbeat(name, max_silence=max_silence, gates=gates, **policy)
        send = through_pool(beat, pool)
        with self._lock:
            self._beating.append((beat.pause, send))
            if self._host is not None:
                self._host.every(beat.pause, send)
        return beat

    def _make_host(self) -> Host:
        if self._isolation == "process":
            from petsage_grpc.plane.process_host import ProcessHost  # noqa: PLC0415 -- few need it

            return ProcessHost(self.settings, self._table, self.checks)
        from petsage_grpc.plane.thread_host import ThreadHost  # noqa: PLC0415 -- it needs grpc

        return ThreadHost(self.settings, self.checks)

    def _take_in(self, name: str, made: CheckSettings) -> None:
        with self._lock:
            if name in self._configured:
                raise ValueError(f"the settings have a check {name!r}: name this one otherwise")
            super()._take_in(name, made)
            if self._host is not None:
                self._host.add_check(name, made)

    def _require_running(self) -> Host:
        with self._lock:
            if self._host is None:
                raise PlaneError(self._left or "the plane has not been started: start it first")
            return self._host

    def _refuse_name(self, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"a health name is a text, and not a {type(name).__name__}")
        limit = self.settings.max_name_length
        if len(name.encode()) > limit:
            raise ValueError(f"the name is longer than max_name_length = {limit} bytes")

    def _has_checks(self, name: str) -> bool:
        return (
            name in RESERVED_NAMES or name in self.settings.groups or name in self.settings.services
        )

    def _abandon(self) -> None:
        """Forget, in a child that was forked, what runs in its parent."""
        if self._host is not None:
            self._lock = threading.RLock()
            self._host = None
            self._left = (
                "the plane was started before this process was forked, and runs in its parent:"
                " start it after the fork, in each worker"
            )


_running: "weakref.WeakSet[HealthPlane]" = weakref.WeakSet()


def _stop_all() -> None:
    """End what still runs when the interpreter does: no thread may be in grpc's core then."""
    for plane in [*_running]:
        plane.stop(0.0)


def _forked() -> None:
    for plane in [*_running]:
        plane._abandon()
    _running.clear()


atexit.register(_stop_all)
os.register_at_fork(after_in_child=_forked)

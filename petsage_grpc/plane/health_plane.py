"""What an application embeds: a health plane on a port of its own, which outlives its trouble."""

import atexit
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Final, Literal, Self

from petsage_grpc.errors import PlaneError
from petsage_grpc.plane.embedded import EmbeddedPlane, Loaded, load_embedded
from petsage_grpc.plane.forks import refuse_after_fork
from petsage_grpc.plane.handover import HANDOVER
from petsage_grpc.plane.host import Host

__all__ = ["HealthPlane", "Isolation"]

Isolation = Literal["thread", "process"]

_ISOLATIONS: Final = ("thread", "process")
_RUNS: Final = "the plane runs already: stop it before it is started again"
_STOPPED: Final = "it has been stopped: start it again first"
_FORKED: Final = (
    "the plane runs in the process from which this one was forked: start it after the fork, in each"
    " worker"
)


class HealthPlane(EmbeddedPlane[Host]):
    """The health service of an application: with a port of its own, and a life of its own.

    Used as a context manager it answers inside of the block. Checks, heartbeats and words may be
    given before it is started and while it runs, from any thread; nothing but `start` and `stop`
    waits.

    Made by `from_settings`.
    """

    def __init__(self, load: Callable[[], Loaded], isolation: Isolation) -> None:
        self._load = load
        self._isolation = isolation
        settings, self._table = load()
        super().__init__(settings)
        self._renew_locks()
        self._stop_asked = False  # while it starts
        self._is_used = False  # what it was made of, by a start
        self._hosting: Host | None = None  # also while it starts, and after its end
        self._stopper: threading.Thread | None = None
        self._addresses: tuple[str, ...] = ()
        _planes.add(self)

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
        return cls(lambda: load_embedded(path, settings), isolation)

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
        if self._is_on_its_thread():
            raise PlaneError(_RUNS)
        with self._life:
            if self._host is not None or self._starting:
                raise PlaneError(_RUNS)
            self._drain_asked = self._stop_asked = False
            self._starting = True
            try:
                self._begin()
            finally:
                self._starting = False
        return self

    def _begin(self) -> None:
        if self._is_used:  # a second life begins with new settings, and new checks of them
            loaded = self._load()
            self.configure(loaded[0].checks)
            self.settings, self._table = loaded
        with self._lock:
            host, given, said = self._make_host(), set(self.checks), dict(self._said)
            left, self._left, self._forked = self._left, "", ""
            self._hosting, self._is_used = host, True
        HANDOVER.begin()
        try:
            addresses = host.start()
            with self._lock:
                self._host, self._addresses = host, addresses
                _running.add(self)
                self._tell_all(host, given, said)
                self._starting = False  # from now on a stop ends it
                if self._stop_asked:
                    self._left = _STOPPED
                    raise PlaneError("it was stopped while it started")
        except BaseException:
            with self._lock:
                ended = not self._starting and self._host is not host  # by a stop just now
                self._host = None
                self._left = self._left or left
                _running.discard(self)
            if not ended:
                _end(host, 0.0)
            raise

    def stop(self, grace: float = 1.0) -> None:
        """End the watches with UNAVAILABLE, and stop; a second time does nothing.

        While it starts, be it on this thread, it has that start end with PlaneError.

        Args:
            grace: seconds that calls under way get to end.
        """
        if self._starting:
            self._stop_asked = True
        if self._is_on_its_thread():
            self._stop_aside(grace)
        else:
            self._stop_life(grace)

    def _stop_life(self, grace: float, only: Host | None = None) -> None:
        """Stop what runs, if it is this life: another may have begun since that was asked for."""
        with self._life:
            with self._lock:
                host = self._host
                # While it starts, this is a signal handler in the midst of it.
                if self._starting or host is None or only not in (None, host):
                    return
                self._host = None
                self._left = _STOPPED
                _running.discard(self)
            _end(host, grace)

    def _is_on_its_thread(self) -> bool:
        """Say whether a check calls; whoever starts or stops the plane may wait for its thread."""
        return self._hosting is not None and self._hosting.is_here()

    def _stop_aside(self, grace: float) -> None:
        if self._stopper is None or not self._stopper.is_alive():
            life = grace, self._hosting
            self._stopper = threading.Thread(
                target=self._stop_life, args=life, name="petsage stop", daemon=True
            )
            self._stopper.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _make_host(self) -> Host:
        if self._isolation == "process":
            from petsage_grpc.plane.process_host import ProcessHost  # noqa: PLC0415 -- few need it

            return ProcessHost(self.settings, self._table, self.checks, self._said)
        refuse_after_fork()
        from petsage_grpc.plane.thread_host import ThreadHost  # noqa: PLC0415 -- it needs grpc

        return ThreadHost(self.settings, self.checks, self._said)

    def _renew_locks(self) -> None:  # a signal handler may take one that is held
        self._life = threading.RLock()  # for a start or a stop
        self._lock = threading.RLock()  # for moments only

    def _abandon(self) -> None:
        """Forget, in a child that was forked, what runs in its parent."""
        self._renew_locks()
        self._starting = False
        if self._host is not None:
            self._host = None
            self._left = self._forked = _FORKED


def _end(host: Host, grace: float) -> None:
    try:
        host.stop(grace)
    finally:
        HANDOVER.end()


_planes: "weakref.WeakSet[HealthPlane]" = weakref.WeakSet()
_running: set[HealthPlane] = set()
"""Those that run, which keeps them although nobody else may."""


def _stop_all() -> None:
    """End what still runs when the interpreter does: no thread may be in grpc's core then."""
    for plane in [*_planes]:
        plane.stop(0.0)  # it waits for one that a check has asked for


def _forked() -> None:
    for plane in [*_planes]:
        plane._abandon()
    _running.clear()


atexit.register(_stop_all)
os.register_at_fork(after_in_child=_forked)

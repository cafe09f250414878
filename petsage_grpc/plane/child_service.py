"""What the plane's process does: it answers whatever the application does, and ends with it."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

from petsage_grpc.checks import KINDS
from petsage_grpc.core.check import Check
from petsage_grpc.core.clock import boot_time
from petsage_grpc.core.fold import LIVENESS, READINESS, STARTUP
from petsage_grpc.core.names import NamesClosedError
from petsage_grpc.core.passive import Said
from petsage_grpc.core.policy import Policy
from petsage_grpc.core.status import Status
from petsage_grpc.core.units import Duration
from petsage_grpc.errors import PetsageError
from petsage_grpc.plane.cells import APPLICATION, PLANE, Cells
from petsage_grpc.plane.link import Link
from petsage_grpc.plane.loop import PlaneLoop
from petsage_grpc.plane.relay import (
    APPLICATION_CHECK,
    ASKED,
    BEATEN,
    TOLD,
    AskedCheck,
    BeatenCheck,
    ToldCheck,
)
from petsage_grpc.plane.service import Service
from petsage_grpc.settings import CheckSettings, Settings
from petsage_grpc.settings_load import settings_of

__all__ = ["serve"]

_MOST_LINES: Final = 1_000
"""Log lines that wait for an application which does not take them."""
_BEAT_EVERY: Final = 1.0
_LOOK_EVERY: Final = 0.25
_LAST_WORDS: Final = 0.3
"""Seconds in which watchers are told that the application is gone."""

_Place = tuple[int, float]
"""In which cell a heartbeat is kept, 0 for none; and since when its first result is waited for."""
_Heartbeats = Mapping[str, _Place]
"""Those of the settings."""

_log = logging.getLogger("petsage_grpc.plane")


class _LinkHandler(logging.Handler):
    """Hands lines over to the application, whose handlers they are for."""

    def __init__(self, child: "_Child") -> None:
        super().__init__()
        self._child = child
        self._count = 0

    def emit(self, record: logging.LogRecord) -> None:
        link = self._child.link
        if link is not None and link.backlog < _MOST_LINES:
            self._count += 1
            text = self._child.redact(self.format(record))
            self._child.put(("log", self._count), ("log", record.levelno, record.name, text))


class _Child:
    """The plane's process, from the first message of the application to the last.

    Args:
        parent: the application's process.
        cells: the times of the heartbeats.
    """

    def __init__(self, parent: int, cells: Cells) -> None:
        self._parent = parent
        self._cells = cells
        self.link: Link | None = None
        self._loop = asyncio.get_running_loop()
        self._greeted: asyncio.Future[tuple[Mapping[str, Any], _Heartbeats]] = (
            self._loop.create_future()
        )
        self._over: asyncio.Future[float | None] = self._loop.create_future()
        self._service: Service | None = None
        self._early: list[tuple[Any, ...]] = []

    async def live(self, end: socket.socket, watched: Callable[[], None]) -> None:
        """Serve until the application says stop, or is gone."""
        self.link = await Link.open(end, self._hear, self._lost)
        self._watch_parent()
        watched()
        table, heartbeats = await self._greeted
        try:
            service = await self._start(settings_of(table), heartbeats)
        except PetsageError as error:
            self._put("end", ("refused", type(error).__name__, str(error)))
            self.link.close()
            return
        self.put("start", ("listening", service.addresses, service.probe_addresses))
        grace = await self._over
        if grace is None:
            service.plane.names.abandon()
            await service.stop(_LAST_WORDS)
        else:
            await service.stop(grace)
            if self.link is not None:  # the application may be gone by now
                self.link.close()

    def redact(self, text: str) -> str:
        """Replace what the checks hide in a text."""
        return text if self._service is None else self._service.redact(text)

    def put(self, key: object, message: tuple[Any, ...]) -> None:
        """Tell the application something; from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has closed
            self._loop.call_soon_threadsafe(self._put, key, message)

    def _put(self, key: object, message: tuple[Any, ...]) -> None:
        if self.link is not None:
            self.link.put(key, message)

    async def _start(self, settings: Settings, heartbeats: _Heartbeats) -> Service:
        logging.getLogger().setLevel(settings.log_level)
        logging.getLogger().addHandler(_LinkHandler(self))
        service = Service(settings, option="listen")
        for name, made in service.checks.items():
            self._connect(name, made.check, heartbeats.get(name, (0, 0.0)))
        await service.start(lambda: self._take_up(service))
        self._beat()
        self._starting = asyncio.ensure_future(self._see_startup(service))
        return service

    def _take_up(self, service: Service) -> None:
        """Begin to hand on, with what was said before."""
        self._service = service
        settings = service.settings
        own = BeatenCheck(max_silence=settings.max_silence)
        policy = Policy(gates=(READINESS, STARTUP, LIVENESS))
        self._add(APPLICATION_CHECK, BEATEN, own, policy, (APPLICATION, boot_time()))
        for message in self._early:
            self._apply(message)
        self._early.clear()
        service.plane.begun = True

    async def _see_startup(self, service: Service) -> None:
        """Say that startup is SERVING: it is so for good, also for a process after this one."""
        with service.plane.names.watch(STARTUP) as watcher, contextlib.suppress(NamesClosedError):
            while await watcher.next() is not Status.SERVING:
                pass
            self._put("started", ("started",))

    def _connect(self, name: str, check: Check, place: _Place) -> None:
        cell, check.since = place
        if isinstance(check, AskedCheck):
            check.ask = lambda what, run: self._put((what, name), (what, name, run))
        elif isinstance(check, BeatenCheck):
            check.keep_in(self._cells[cell])

    def _add(self, name: str, kind: str, check: Check, policy: Policy, place: _Place) -> None:
        assert self._service is not None
        self._connect(name, check, place)
        self._service.plane.add_check(name, CheckSettings(kind, check, policy))

    def _beat(self) -> None:
        self._cells[PLANE][0] = boot_time()
        self._loop.call_later(_BEAT_EVERY, self._beat)

    def _hear(self, message: tuple[Any, ...]) -> None:
        if message[0] == "begin":
            table, heartbeats, self._early = message[1:]
            self._greeted.set_result((table, heartbeats))
        elif message[0] == "stop":
            self._end(message[1])
        elif self._service is None:
            self._early.append(message)
        else:
            self._apply(message)

    def _apply(self, message: tuple[Any, ...]) -> None:
        """Do what the application says; a message that fails must not cost the link."""
        try:
            self._do(message)
        except Exception:  # noqa: BLE001 -- whatever it is, the next one may be right
            _log.exception("the plane's process can not do %r", message[0])

    def _do(self, message: tuple[Any, ...]) -> None:
        assert self._service is not None
        plane, (what, *rest) = self._service.plane, message
        if what == "drain":
            plane.monitor.drain()
        elif what == "started":
            plane.end_startup()
        elif what == "word":
            self._say(*rest)
        elif what == "check":
            self._take_in(*rest)
        elif (made := plane.checks.get(rest[0])) is not None:
            self._tell(what, made.check, *rest[1:])

    def _take_in(
        self, name: str, kind: str, policy: Policy, max_silence: float | None, place: _Place
    ) -> None:
        check: Check = AskedCheck()
        if max_silence is not None:
            passive = BeatenCheck if place[0] else ToldCheck
            check = passive(max_silence=Duration(max_silence))
        self._add(name, kind, check, policy, place)

    def _tell(self, what: str, check: Check, *rest: Any) -> None:  # noqa: ANN401 -- as they come
        """Hand on what is said of a run, or of a check that is reported."""
        if isinstance(check, AskedCheck):
            if what == "ended":
                check.end(*rest)
            elif what == "line":
                check.wait_in_line(rest[0], waiting=rest[1])
            elif what == "doing":
                check.say_doing(*rest)
            elif what == "soon":
                check.run_soon()
        elif isinstance(check, ToldCheck | BeatenCheck) and what == "reports":
            for at, error in rest[0]:
                check.take(Said(at, error))

    def _say(
        self,
        name: str,
        lasting: tuple[bool, str] | None,
        passing: tuple[bool, str, float] | None,
    ) -> None:
        """Put what is said of a name in the place of all that was said before."""
        assert self._service is not None
        plane = self._service.plane
        if lasting is None:
            plane.take_back(name)
        else:
            plane.say(name, serving=lasting[0], reason=lasting[1], ttl=None)
        if passing is not None and (left := passing[2] - boot_time()) > 0:
            plane.say(name, serving=passing[0], reason=passing[1], ttl=left)
        elif passing is not None:  # it has expired, and the name is still known
            plane.register(name)

    def _lost(self) -> None:
        self.link = None
        self._end(None)

    def _end(self, grace: float | None) -> None:
        """End: in good order within the grace time, or at once without one."""
        if not self._greeted.done():
            os._exit(0)
        if not self._over.done():
            self._over.set_result(grace)

    def _watch_parent(self) -> None:
        """Notice when the application's process ends, even if a child of it holds the link."""
        with contextlib.suppress(AttributeError, OSError):
            descriptor = os.pidfd_open(self._parent)
            self._loop.add_reader(descriptor, self._parent_ended, descriptor)
        self._look_for_parent()

    def _parent_ended(self, descriptor: int) -> None:
        self._loop.remove_reader(descriptor)
        self._lost()

    def _look_for_parent(self) -> None:
        if os.getppid() != self._parent:
            self._lost()
        else:
            self._loop.call_later(_LOOK_EVERY, self._look_for_parent)


def serve(link: int, cells: int, parent: int, watched: Callable[[], None]) -> None:
    """Answer until the application says stop, or is gone.

    Args:
        link: the descriptor of our end of the link.
        cells: that of the memory with the heartbeats.
        parent: the application's process.
        watched: called as soon as this notices by itself when the application ends.
    """
    for kind, cls in ((ASKED, AskedCheck), (BEATEN, BeatenCheck), (TOLD, ToldCheck)):
        KINDS[kind] = f"{cls.__module__}:{cls.__name__}"

    async def live() -> None:
        child = _Child(parent, Cells(cells))
        await child.live(socket.socket(fileno=link), watched)

    with asyncio.Runner(loop_factory=PlaneLoop) as runner:
        runner.run(live())

"""Hosts the plane on a thread of its own: a full pool or a blocked loop delays no answer."""

import asyncio
import concurrent.futures
import contextlib
import functools
import logging
import threading
from collections.abc import Coroutine, Mapping
from typing import Any, Final

from petsage_grpc.errors import PlaneError
from petsage_grpc.plane.host import Said
from petsage_grpc.plane.loop import PlaneLoop
from petsage_grpc.plane.loop_host import LoopHost
from petsage_grpc.plane.plane import Plane
from petsage_grpc.plane.service import Service
from petsage_grpc.settings import CheckSettings, Settings

__all__ = ["ThreadHost"]

_PATIENCE: Final = 10.0
"""Seconds beyond the grace time after which a thread that does not end is left behind."""
_START: Final = 5.0
"""Seconds in which the ports answer, or checks begin before: one may block the event loop."""
_UNWANTED: Final = "it was stopped while it started"

_log = logging.getLogger("petsage_grpc.plane")


class ThreadHost(LoopHost):
    """A service on an event loop of its own, on a thread of its own.

    Every method may be called from any thread, and none but `start` and `stop` waits.

    Args:
        settings: what is wanted.
        checks: what was declared before the start.
        said: what was said of names before the start.
    """

    def __init__(self, settings: Settings, checks: Mapping[str, CheckSettings], said: Said) -> None:
        super().__init__()
        self._settings = settings
        self._checks = dict(checks)
        self._said = dict(said)
        self._addresses: concurrent.futures.Future[tuple[str, ...]] = concurrent.futures.Future()
        self._stop: asyncio.Event | None = None
        self._grace = 0.0
        self._unwanted = False
        self._thread = threading.Thread(target=self._run, name="petsage plane", daemon=True)

    def start(self) -> tuple[str, ...]:
        """Listen, and start the checks; return where it listens.

        Raises BindError when an address can not be had.
        """
        try:
            self._thread.start()
            return self._addresses.result()
        except BaseException:  # an interrupt, too, leaves no thread behind
            self.stop(0.0)
            raise

    def is_here(self) -> bool:
        """Say whether this thread is its own."""
        return threading.current_thread() is self._thread

    def stop(self, grace: float) -> None:
        """Stop within the grace time, in seconds, and return when nothing is left."""
        self._grace, self._unwanted = grace, True
        if self._stop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                self._home.call_soon_threadsafe(self._stop.set)
        with contextlib.suppress(RuntimeError):  # it has not begun, and will see that it need not
            self._thread.join(grace + _PATIENCE)
        if self._thread.is_alive():
            _log.error("the plane's thread does not end, and is left behind")

    def _run(self) -> None:
        if self._unwanted:
            self._addresses.set_exception(PlaneError(_UNWANTED))
            return
        try:
            factory = functools.partial(PlaneLoop, self._settings.switch_interval)
            with asyncio.Runner(loop_factory=factory) as runner:
                _run_to_its_end(runner.get_loop(), self._live())
        except BaseException as error:  # noqa: BLE001 -- whoever started it is told
            if self._addresses.done():
                _log.exception("the plane has failed")
            else:
                self._addresses.set_exception(error)

    async def _live(self) -> None:
        self._home, self._stop = asyncio.get_running_loop(), asyncio.Event()
        service = Service(self._settings, option="listen")
        try:
            await service.start(lambda: self._take_up(service.plane))
            for name in self._checks:
                service.plane.monitor.run_soon(name)
            if self._unwanted:
                raise PlaneError(_UNWANTED)
            self._addresses.set_result(service.addresses)
            await self._stop.wait()
        except BaseException:  # whatever ends it, it frees its ports
            await service.stop(0.0)
            raise
        await service.stop(self._grace)

    def _take_up(self, plane: Plane) -> None:
        """Begin to hand on, with what was said before."""
        for name, made in self._checks.items():
            try:
                plane.add_check(name, made, _START)
            except Exception as error:
                raise PlaneError(f"check {name} can not be taken in: {error!r}") from error
        for name, (serving, reason) in self._said.items():
            plane.say(name, serving=serving, reason=reason, ttl=None)
        plane.begun = True
        self.connect(plane)


def _run_to_its_end(loop: asyncio.AbstractEventLoop, life: Coroutine[Any, Any, None]) -> None:
    """Run the plane, also when a callback of somebody's raises what would end the event loop."""
    task = loop.create_task(life)
    while True:
        try:
            return loop.run_until_complete(task)
        except (SystemExit, KeyboardInterrupt):
            if task.done():
                raise
            _log.exception("a callback on the plane's event loop would have ended it")

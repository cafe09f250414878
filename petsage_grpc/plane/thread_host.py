"""Hosts the plane on a thread of its own: a full pool or a blocked loop delays no answer."""

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from petsage_grpc.plane.loop import PlaneLoop
from petsage_grpc.plane.service import Service
from petsage_grpc.settings import CheckSettings, Settings

__all__ = ["ThreadHost"]

_PATIENCE: Final = 10.0
"""Seconds beyond the grace time after which a thread that does not end is left behind."""

_log = logging.getLogger("petsage_grpc.plane")


class ThreadHost:
    """A service on an event loop of its own, on a thread of its own.

    Every method may be called from any thread, and none but `start` and `stop` waits.

    Args:
        settings: what is wanted.
        checks: what was declared before the start.
    """

    def __init__(self, settings: Settings, checks: Mapping[str, CheckSettings]) -> None:
        self._settings = settings
        self._checks = dict(checks)
        self._addresses: concurrent.futures.Future[tuple[str, ...]] = concurrent.futures.Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._service: Service | None = None
        self._stop: asyncio.Event | None = None
        self._grace = 0.0
        self._thread = threading.Thread(target=self._run, name="petsage plane", daemon=True)

    def start(self) -> tuple[str, ...]:
        """Listen, and start the checks; return where it listens.

        Raises BindError when an address can not be had.
        """
        self._thread.start()
        return self._addresses.result()

    def add_check(self, name: str, made: CheckSettings) -> None:
        """Take in one more check."""
        self._post(lambda service: service.plane.add_check(name, made))

    def say(self, name: str, *, serving: bool, reason: str, ttl: float | None) -> None:
        """Say how a name is."""
        self._post(lambda service: service.plane.say(name, serving=serving, reason=reason, ttl=ttl))

    def take_back(self, name: str) -> None:
        """Forget what was said of a name."""
        self._post(lambda service: service.plane.take_back(name))

    def drain(self) -> None:
        """Turn every name but liveness NOT_SERVING."""
        self._post(lambda service: service.plane.monitor.drain())

    def every(self, seconds: float, call: Callable[[], None]) -> None:
        """Call a function, which must not block, from now on in these intervals."""

        def again(service: Service) -> None:
            call()
            service.plane.clock.call_later(seconds, lambda: again(service))

        self._post(again)

    def stop(self, grace: float) -> None:
        """Stop within the grace time, in seconds, and return when nothing is left."""
        self._grace = grace
        if self._stop is not None:
            self._call(self._stop.set)
        self._thread.join(grace + _PATIENCE)
        if self._thread.is_alive():
            _log.error("the plane's thread does not end, and is left behind")

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=PlaneLoop) as runner:
                runner.run(self._live())
        except BaseException as error:  # noqa: BLE001 -- whoever started it is told
            if self._addresses.done():
                _log.exception("the plane has failed")
            else:
                self._addresses.set_exception(error)

    async def _live(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        service = Service(self._settings, features=())
        await service.start()
        for name, made in self._checks.items():  # before the first answer: nothing was awaited
            service.plane.add_check(name, made)
        self._service = service
        self._addresses.set_result(service.addresses)
        await self._stop.wait()
        await service.stop(self._grace)

    def _post(self, call: Callable[[Service], Any]) -> None:
        service = self._service
        assert service is not None, "it has not been started"
        self._call(lambda: call(service))

    def _call(self, call: Callable[[], Any]) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # it has been stopped meanwhile
            self._loop.call_soon_threadsafe(call)

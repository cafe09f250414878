"""Hands on to a plane, on its own event loop, what any thread says to it."""

import asyncio
import contextlib
from collections.abc import Callable

from petsage_grpc.plane.plane import Plane
from petsage_grpc.settings import CheckSettings

__all__ = ["LoopHost"]


class LoopHost:
    """Where a plane runs in this process. Any thread may call it, and nothing waits.

    What is said on the plane's own loop holds at once.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._plane: Plane | None = None

    def connect(self, plane: Plane) -> None:
        """Begin to hand on to this plane, on the running event loop."""
        self._plane, self._loop = plane, asyncio.get_running_loop()

    def disconnect(self) -> None:
        """Hand on no more; on the plane's loop."""
        self._plane = None

    def add_check(self, name: str, made: CheckSettings) -> None:
        """Take in one more check."""
        self._post(lambda plane: plane.add_check(name, made))

    def say(self, name: str, *, serving: bool, reason: str, ttl: float | None) -> None:
        """Say how a name is."""
        self._post(lambda plane: plane.say(name, serving=serving, reason=reason, ttl=ttl))

    def take_back(self, name: str) -> None:
        """Forget what was said of a name."""
        self._post(lambda plane: plane.take_back(name))

    def drain(self) -> None:
        """Turn every name but liveness NOT_SERVING."""
        self._post(lambda plane: plane.monitor.drain())

    def every(self, seconds: float, call: Callable[[], None]) -> None:
        """Call a function, which must not block, from now on in these intervals."""

        def again(plane: Plane) -> None:
            try:
                call()
            finally:
                plane.clock.call_later(seconds, lambda: self._do(again))

        self._post(again)

    def _post(self, call: Callable[[Plane], object]) -> None:
        assert self._loop is not None, "it has not been connected"
        if asyncio._get_running_loop() is self._loop:
            self._do(call)
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            self._loop.call_soon_threadsafe(self._do, call)

    def _do(self, call: Callable[[Plane], object]) -> None:
        if self._plane is not None:
            call(self._plane)

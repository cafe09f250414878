"""Heartbeats as the application holds them: called by hand, by a loop, or through a pool."""

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from typing import Final, TypeVar

from petsage_grpc.checks.heartbeat import HeartbeatCheck

__all__ = ["Heartbeat", "beat_by_loop", "through_pool"]

_BEATS_IN_SILENCE: Final = 5
"""How often one that beats by itself does so in the longest silence that is allowed."""

_Item = TypeVar("_Item")


class Heartbeat:
    """Says that a part of the application is alive: call it, more often than `max_silence`.

    A call is one write to memory; it never waits, from whatever thread, and raises nothing.

    Args:
        name: the name of its check.
        check: what is told.
    """

    __slots__ = ("_beat", "_check", "name")

    def __init__(self, name: str, check: HeartbeatCheck) -> None:
        self.name = name
        self.tell(check)

    def tell(self, check: HeartbeatCheck) -> None:
        """Tell another check from now on."""
        self._check = check
        self._beat = check.beat

    def __call__(self) -> None:
        """Say that all is well."""
        self._beat()

    def fail(self, reason: str) -> None:
        """Say that it does not work, though it is alive; the next beat says otherwise.

        Args:
            reason: what is wrong, in one line, for the log and authorised callers.
        """
        self._check.report(reason or "it does not work")

    def over(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """Give on the items of a worker's loop, and beat before each and at the end."""
        self()
        for item in items:
            self()
            yield item
        self()

    @property
    def pause(self) -> float:
        """Seconds from beat to beat of one that beats by itself."""
        return self.max_silence / _BEATS_IN_SILENCE

    @property
    def max_silence(self) -> float:
        """Seconds without a beat that are still no failure."""
        return self._check.max_silence

    def __repr__(self) -> str:
        return f"<Heartbeat {self.name!r}, at least every {self.max_silence:g} s>"


def beat_by_loop(beat: Heartbeat, loop: asyncio.AbstractEventLoop) -> None:
    """Have an event loop beat, from now on until it ends; from any thread.

    Raises RuntimeError when it has been closed.
    """

    def again() -> None:
        beat()
        loop.call_later(beat.pause, again)

    loop.call_soon_threadsafe(again)


def through_pool(beat: Heartbeat, pool: Executor) -> Callable[[], None]:
    """Make what sends a beat through the queue of a pool; it never has two of them there."""
    in_queue = threading.Lock()

    def arrive() -> None:
        in_queue.release()
        beat()

    def send() -> None:
        if in_queue.acquire(blocking=False):
            try:
                pool.submit(arrive)
            except RuntimeError:  # it has been shut down: silence says so
                in_queue.release()

    return send

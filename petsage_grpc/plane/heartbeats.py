"""Heartbeats as the application holds them: called by hand, by a loop, or through a pool."""

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from typing import Final, TypeVar

from petsage_grpc.checks.heartbeat import HeartbeatCheck
from petsage_grpc.core.text import plain

__all__ = ["Heartbeat", "beat_by_loop", "refuse_elsewhere", "through_pool"]

_BEATS_IN_SILENCE: Final = 5
"""How often one that beats by itself does so in the longest silence that is allowed."""
_ELSEWHERE: Final = frozenset({"ProcessPoolExecutor", "InterpreterPoolExecutor"})
"""The pools whose tasks share no memory with who submits them."""

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

    def fail(self, reason: str | BaseException | None) -> None:
        """Say that it does not work, though it is alive; the next beat says otherwise.

        Args:
            reason: what is wrong, in one line, for the log and authorised callers; an exception
                says so itself.
        """
        self._check.report(plain("" if reason is None else reason) or "it does not work")

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


def refuse_elsewhere(pool: Executor, name: str) -> None:
    """Raise TypeError when the tasks of a pool run where they can not beat."""
    if not _ELSEWHERE.isdisjoint(cls.__name__ for cls in type(pool).__mro__):
        raise TypeError(
            f"heartbeat {name}: the tasks of a {type(pool).__name__} run outside of this"
            " interpreter, and can not beat here: beat where their results come in"
        )


def through_pool(beat: Heartbeat, pool: Executor) -> Callable[[], None]:
    """Make what sends a beat through the queue of a pool; there are never two under way.

    It does not wait, although `submit` may do so while the pool is full: a thread calls that.
    """
    under_way = threading.Lock()

    def submit() -> None:
        try:
            task = pool.submit(beat)
            task.add_done_callback(lambda _: under_way.release())  # cancelled ones, too
        except Exception:  # noqa: BLE001 -- it takes none, as when shut down: silence says so
            under_way.release()

    def send() -> None:
        if under_way.acquire(blocking=False):
            name = f"petsage beat through {beat.name}"
            try:
                threading.Thread(target=submit, name=name, daemon=True).start()
            except RuntimeError:  # there can be no more threads, such as at the end
                under_way.release()

    return send

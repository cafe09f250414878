"""Runs the blocking part of a check on a thread of its own: a hang costs that one, no more."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeVar

from petsage_grpc.core.check import Check

__all__ = ["MAX_THREADS", "run_blocking", "set_thread_limit", "wait_out"]

_T = TypeVar("_T")

MAX_THREADS: Final = 64
"""Threads that the checks of a process use at once, if nothing else is set."""


_FOR_LOCAL_CHECKS: Final = 4
"""Threads beyond that for checks which do not reach outside: what hangs there starves none here."""


class _Slots:
    """The threads of the process that checks may use at once; who comes too late waits in line."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._taken = 0
        self._line: deque[asyncio.Future[None]] = deque()
        self._lock = threading.Lock()

    async def take(self, check: Check | None) -> None:
        """Wait for a place, which the check, if there is one, says while it waits."""
        with self._lock:
            own = _FOR_LOCAL_CHECKS if check and not check.outside else 0
            if self._taken < self.limit + own:
                self._taken += 1
                return
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._line.append(turn)
        before = check.doing if check else ""
        if check:
            check.in_line(waiting=True)
            check.doing = f"all {self.limit} threads (max_threads) are busy"
        try:
            await turn
            if check:
                check.doing = before
                check.in_line(waiting=False)
        except asyncio.CancelledError:
            with self._lock:
                if turn in self._line:
                    self._line.remove(turn)
                    raise
            self.give_back()
            raise

    def give_back(self) -> None:
        """Give a place to the next in line; from any thread."""
        with self._lock:
            while self._line and self._taken <= self.limit:  # or those beyond it have to end first
                turn = self._line.popleft()
                with contextlib.suppress(RuntimeError):  # its loop has closed: the next, please
                    turn.get_loop().call_soon_threadsafe(self._call, turn)
                    return
            self._taken -= 1

    def _call(self, turn: "asyncio.Future[None]") -> None:
        if not turn.done():
            turn.set_result(None)


_slots = _Slots(MAX_THREADS)


def set_thread_limit(limit: int) -> None:
    """Say how many threads the checks of this process may use at once."""
    _slots.limit = limit


async def run_blocking(check: Check | None, work: Callable[[], Any], *, name: str) -> None:
    """Run `work` on a new daemon thread and wait for it, also when cancelled meanwhile.

    Raises what `work` raises. A wait that is cancelled goes on until the thread ends: that is how
    the monitor knows that the run still hangs and must not be started a second time. Cancelled once
    more, as by a loop that shuts down, it leaves the thread behind; it is a daemon, so that one
    that never returns keeps no process alive.

    Args:
        check: whose work it is, where that is known; it says so while it waits for a free thread.
        work: what may block.
        name: the name of the thread.
    """
    await _slots.take(check)
    loop = asyncio.get_running_loop()
    # An error is a result here: a future takes no StopIteration, and what it raises ends the wait.
    done: asyncio.Future[BaseException | None] = loop.create_future()

    def target() -> None:
        error: BaseException | None = None
        try:
            work()
        except BaseException as raised:  # noqa: BLE001 -- whatever it is, it is the run's result
            error = raised
        _slots.give_back()
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            loop.call_soon_threadsafe(done.set_result, error)

    try:
        threading.Thread(target=target, name=name, daemon=True).start()
    except BaseException:
        _slots.give_back()
        raise
    error = await wait_out(done)
    if isinstance(error, Exception):
        raise error
    if error is not None:  # a SystemExit raised on would end the event loop, and the plane with it
        raise RuntimeError(f"{name} raised {error!r}") from error


async def wait_out(done: "asyncio.Future[_T]", cancel: Callable[[], None] = lambda: None) -> _T:
    """Wait to the end, also when cancelled meanwhile; the second cancellation ends the wait.

    Args:
        done: what is waited for.
        cancel: passes the first cancellation on.
    """
    cancelled = False
    while not done.done():
        try:
            await asyncio.shield(done)
        except asyncio.CancelledError:
            if cancelled:
                raise
            cancelled = True
            cancel()
    if cancelled:
        raise asyncio.CancelledError
    return done.result()

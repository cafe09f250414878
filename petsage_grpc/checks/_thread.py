"""Runs the blocking part of a check on a thread of its own: a hang costs that one, no more."""

import asyncio
import contextlib
import threading
from collections.abc import Callable

__all__ = ["run_blocking"]


async def run_blocking(work: Callable[[], None], *, name: str) -> None:
    """Run `work` on a new daemon thread and wait for it, also when cancelled meanwhile.

    Raises what `work` raises. A wait that is cancelled goes on until the thread ends: that is how
    the monitor knows that the run still hangs and must not be started a second time. Cancelled once
    more, as by a loop that shuts down, it leaves the thread behind; it is a daemon, so that one
    that never returns keeps no process alive.
    """
    loop = asyncio.get_running_loop()
    # An error is a result here: a future takes no StopIteration, and what it raises ends the wait.
    done: asyncio.Future[BaseException | None] = loop.create_future()

    def target() -> None:
        error: BaseException | None = None
        try:
            work()
        except BaseException as raised:  # noqa: BLE001 -- whatever it is, it is the run's result
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            loop.call_soon_threadsafe(done.set_result, error)

    threading.Thread(target=target, name=name, daemon=True).start()
    cancelled = False
    while not done.done():
        try:
            await asyncio.shield(done)
        except asyncio.CancelledError:
            if cancelled:
                raise
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    error = done.result()
    if isinstance(error, Exception):
        raise error
    if error is not None:  # a SystemExit raised on would end the event loop, and the plane with it
        raise RuntimeError(f"{name} raised {error!r}") from error

"""Runs an async function of a check on the event loop where its resources are at home."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from petsage_grpc.checks._thread import wait_out
from petsage_grpc.core.check import Check, CheckFailedError

__all__ = ["run_on", "running_loop"]


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Find the event loop that runs here, if one does."""
    with contextlib.suppress(RuntimeError):
        return asyncio.get_running_loop()
    return None


async def run_on(
    home: asyncio.AbstractEventLoop | None,
    check: Check,
    name: str,
    call: Callable[[], Awaitable[Any]],
) -> Any:  # noqa: ANN401 -- whatever it returns
    """Await what `call` returns on its event loop, and return the result.

    Cancelled it passes that on and waits for the end there, so that a run which hangs is not begun
    a second time; cancelled once more it leaves it behind.

    Args:
        home: the event loop; the running one if there is none.
        check: whose run it is; it says what it waits for.
        name: what is called.
        call: called on that loop.

    Raises what `call` raises, and CheckFailedError when that event loop has ended.
    """
    if home is None or home is asyncio.get_running_loop():
        return await call()
    check.doing = f"waiting for the event loop of {name}"

    def begun() -> None:
        check.doing = f"waiting for {name}"

    visit = _Visit(call, begun)
    try:
        home.call_soon_threadsafe(visit.begin)
    except RuntimeError:
        raise CheckFailedError(f"the event loop of {name} has been closed") from None

    def cancel() -> None:
        with contextlib.suppress(RuntimeError):  # it has been closed: nothing goes on there
            home.call_soon_threadsafe(visit.cancel)

    result, error = await wait_out(visit.done, cancel)
    if isinstance(error, asyncio.CancelledError):
        raise CheckFailedError(f"{name} was cancelled: perhaps its event loop ends") from None
    if error is not None:
        raise error
    return result


class _Visit:
    """One call on another event loop, and its outcome on the one that runs while it is made."""

    def __init__(self, call: Callable[[], Awaitable[Any]], begun: Callable[[], None]) -> None:
        self._call = call
        self._begun = begun
        self._task: asyncio.Task[Any] | None = None
        self._here = asyncio.get_running_loop()
        # An error is a result here: else one of a run that was given up would be complained of.
        self.done: asyncio.Future[tuple[Any, BaseException | None]] = self._here.create_future()

    def begin(self) -> None:
        """Make the call; on the other loop, as all that follows."""
        self._begun()
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(self._ended)

    def cancel(self) -> None:
        """Cancel it."""
        assert self._task is not None
        self._task.cancel()

    async def _run(self) -> Any:  # noqa: ANN401 -- whatever it returns
        try:
            return await self._call()
        except (SystemExit, KeyboardInterrupt) as error:  # these would end that loop
            raise CheckFailedError(f"raised {error!r}") from error

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        outcome = None if error else task.result(), error
        with contextlib.suppress(RuntimeError):  # the plane's loop has closed
            self._here.call_soon_threadsafe(self._tell, outcome)

    def _tell(self, outcome: tuple[Any, BaseException | None]) -> None:
        if not self.done.done():
            self.done.set_result(outcome)

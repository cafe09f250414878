"""Runs one check, one run at a time, each with a deadline; one that does not end is quarantined."""

import asyncio
from collections.abc import Callable

from petsage_grpc.core.check import Check, CheckFailedError
from petsage_grpc.core.clock import Clock, Timer
from petsage_grpc.core.text import printable
from petsage_grpc.core.units import format_duration

__all__ = ["Runner"]

_LONGEST_DETAIL = 1000
"""Characters of an error that are kept: a driver may quote all that a server has said."""


class Runner:
    """The runs of one check, on one event loop.

    Args:
        name: the name of the check.
        check: what is run.
        timeout: seconds that a run may take.
        clock: tells the time.
        settle: called once for every run as soon as its result is known, and once more for each
            `miss`, with what went wrong in public words and in full; both are empty when it passed.
        freed: called when a run that was over its time has ended at last, with whether it was
            missed.
    """

    def __init__(
        self,
        name: str,
        check: Check,
        timeout: float,
        clock: Clock,
        *,
        settle: Callable[[str, str], None],
        freed: Callable[[bool], None],
    ) -> None:
        self.started = float("-inf")
        """When the last run began, in seconds of the clock."""
        self.settled: asyncio.Future[None] | None = None
        """Done as soon as the run under way has its result; None when it has one, or none runs."""
        self._name = name
        self._check = check
        self._timeout = timeout
        self._clock = clock
        self._settle = settle
        self._freed = freed
        self._task: asyncio.Task[None] | None = None
        self._deadline: Timer | None = None
        self._overdue = False  # the run has been given up, but has not ended
        self._missed = False  # nor has it by the time of the next one
        self._stopped = False

    @property
    def running(self) -> bool:
        """Whether a run is under way, be it in quarantine."""
        return self._task is not None

    @property
    def quarantined(self) -> bool:
        """Whether a run that is over its time has not ended."""
        return self._overdue

    def start(self) -> None:
        """Start a run; there must be none under way."""
        assert self._task is None
        self.started = self._clock.now()
        self._check.doing = ""
        loop = asyncio.get_running_loop()
        self.settled = loop.create_future()
        self._task = loop.create_task(_run(self._check), name=f"petsage check {self._name}")
        self._task.add_done_callback(self._ended)
        self._deadline = self._clock.call_later(self._timeout, self._give_up)

    def miss(self) -> None:
        """Count one more failure while the last run still has not ended."""
        self._missed = True
        hung = format_duration(round(self._clock.now() - self.started, 1))
        self._settle_late(f"hangs since {hung}")

    def stop(self) -> asyncio.Task[None] | None:
        """End the run under way, unless it hangs anyway; return it, so that it can be awaited."""
        self._stopped = True
        if self._deadline is not None:
            self._deadline.cancel()
        self._release()
        if self._task is not None and not self._overdue:
            self._task.cancel()
            return self._task
        return None

    def _ended(self, run: asyncio.Task[None]) -> None:
        self._task = None
        if self._deadline is not None:
            self._deadline.cancel()
        error = None if run.cancelled() else run.exception()
        if self._stopped:
            return
        if self._overdue:  # its failure has been counted; what it says now is too late to matter
            missed, self._overdue, self._missed = self._missed, False, False
            self._freed(missed)
        elif run.cancelled():
            self._finish("failed", "the check cancelled itself")
        elif error is not None:
            self._finish("failed", _describe(error))
        else:
            self._finish("", "")

    def _give_up(self) -> None:
        """Count a run that is over its timeout as failed and put it into quarantine."""
        assert self._task is not None
        self._overdue = True
        self._task.cancel()
        self._settle_late(f"timed out after {format_duration(self._timeout)}")

    def _settle_late(self, message: str) -> None:
        doing = f" while {self._check.doing}" if self._check.doing else ""
        self._finish(message, message + doing)

    def _finish(self, message: str, detail: str) -> None:
        self._release()  # who waits for it goes on after this, and finds the result
        told = printable(self._check.redact(detail))
        self._settle(
            message, told if len(told) <= _LONGEST_DETAIL else told[:_LONGEST_DETAIL] + "…"
        )

    def _release(self) -> None:
        if self.settled is not None:
            self.settled.set_result(None)
            self.settled = None


def _describe(error: BaseException) -> str:
    if isinstance(error, CheckFailedError) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


async def _run(check: Check) -> None:
    try:
        await check.run()
    except (SystemExit, KeyboardInterrupt) as error:  # these would end the loop, and the plane
        raise CheckFailedError(f"raised {error!r}") from error

"""Runs one check, one run at a time, each with a deadline; one that does not end is quarantined."""

import asyncio
import logging
import re
from collections.abc import Callable, Mapping

from petsage_grpc.core.check import Check, CheckFailedError
from petsage_grpc.core.clock import Clock, Timer
from petsage_grpc.core.text import printable
from petsage_grpc.core.units import format_duration

__all__ = ["Runner", "close_checks", "run_check", "show", "told_of"]

_log = logging.getLogger("petsage_grpc.monitor")

_LONGEST_DETAIL = 1000
"""Characters of an error that are kept: a driver may quote all that a server has said."""

_WORD_IN_PART = re.compile(r"\s\S{0,200}\Z")
"""The last word of what is kept: it may be half of a secret of another check."""


class Runner:
    """The runs of one check, on one event loop.

    Args:
        name: the name of the check.
        check: what is run.
        timeout: seconds that a run may take.
        patience: seconds that it may wait in line before it begins, see `Check.in_line`.
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
        patience: float,
        settle: Callable[[str, str], None],
        freed: Callable[[bool], None],
    ) -> None:
        self.started = float("-inf")
        """When the last run began, in seconds of the clock."""
        self.settled: asyncio.Future[None] | None = None
        """Done as soon as the run under way has its result; None when it has one, or none runs."""
        self._name = name
        self._check = check
        self._began = self.started  # since when its time runs
        self._timeout = timeout
        self._patience = patience
        self._allowed = timeout
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
        self.started = self._began = self._clock.now()
        self._allowed = self._timeout
        self._check.doing = ""
        self._check.in_line = self._in_line
        loop = asyncio.get_running_loop()
        self.settled = loop.create_future()
        self._task = loop.create_task(run_check(self._check), name=f"petsage check {self._name}")
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

    def _in_line(self, *, waiting: bool) -> None:
        """Let the time that a run waits for its turn not count; it is not what is checked."""
        if self._deadline is None or self._overdue or self._task is None:
            return
        self._deadline.cancel()
        self._began = self._clock.now()
        self._allowed = self._patience if waiting else self._timeout
        self._deadline = self._clock.call_later(self._allowed, self._give_up)

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
        elif self._clock.now() - self._began > self._allowed:
            # The machine slept or the loop was blocked: what it says may be from long ago.
            self._settle_late(f"timed out after {format_duration(self._allowed)}")
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
        self._settle_late(f"timed out after {format_duration(self._allowed)}")

    def _settle_late(self, message: str) -> None:
        doing = f" while {self._check.doing}" if self._check.doing else ""
        self._finish(message, message + doing)

    def _finish(self, message: str, detail: str) -> None:
        self._release()  # who waits for it goes on after this, and finds the result
        self._settle(message, show(self._check, detail))

    def _release(self) -> None:
        if self.settled is not None:
            self.settled.set_result(None)
            self.settled = None


def _describe(error: BaseException) -> str:
    name = type(error).__name__
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 -- somebody else's error, and the schedule must go on
        return f"{name}, which can not be shown"
    if text and isinstance(error, CheckFailedError):
        return text
    return f"{name}: {text}" if text else name


def show(check: Check, detail: str) -> str:
    """Make of what went wrong one line of a bounded length that shows no secret of the check."""
    try:
        told = check.redact(detail)
        if len(told) > _LONGEST_DETAIL:  # after the secrets: half of one would be left
            told = _WORD_IN_PART.sub(" ", told[:_LONGEST_DETAIL]) + "…"
        return printable(told)
    except BaseException as error:  # noqa: BLE001 -- what can not be redacted is not told
        return f"what went wrong can not be shown: redact raised {type(error).__name__}"


def told_of(check: Check, error: BaseException) -> str:
    """Say what a run raised, in one line that shows no secret of the check."""
    return show(check, _describe(error))


async def run_check(check: Check) -> None:
    """Run a check; what would end the event loop is a failure like any other."""
    try:
        await check.run()
    except (SystemExit, KeyboardInterrupt) as error:  # these would end the loop, and the plane
        raise CheckFailedError(f"raised {error!r}") from error


async def close_checks(checks: Mapping[str, Check], seconds: float) -> None:
    """Let all checks give back what they hold, at most for so many seconds."""
    closing = [asyncio.create_task(_close(name, check)) for name, check in checks.items()]
    if closing:
        _, still_open = await asyncio.wait(closing, timeout=seconds)
        for task in still_open:
            task.cancel()


async def _close(name: str, check: Check) -> None:
    try:
        await check.close()
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 -- nothing is left to do
        _log.warning("check %s did not close: %s", name, show(check, _describe(error)))

"""Runs the application's own checks in its process, when the plane's process asks for it."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from petsage_grpc.core.check import Check
from petsage_grpc.core.runner import close_checks, run_check, told_of

__all__ = ["Answering"]

_CLOSE: Final = 0.2
"""Seconds that checks get to give back what they hold."""
_LONGEST: Final = 1_000
"""Characters of what is told of a run."""
_TELL_AFTER: Final = 0.75
"""The part of its timeout after which a run tells what it is waiting for, should it be given up."""


class Answering:
    """The checks of this process, each with at most one run; on one event loop.

    Args:
        put: sends a message to the plane's process, under a key.
    """

    def __init__(self, put: Callable[[object, tuple[Any, ...]], None]) -> None:
        self._put = put
        self._checks: dict[str, tuple[Check, float]] = {}
        self._free: dict[str, asyncio.Lock] = {}
        self._runs: dict[str, asyncio.Task[str]] = {}

    def add(self, name: str, check: Check, timeout: float) -> None:
        """Take in a check.

        Args:
            name: its name.
            check: what is run.
            timeout: seconds after which a run is given up.
        """
        self._checks[name] = check, timeout
        self._free[name] = asyncio.Lock()
        check.run_soon = lambda: self._put(("soon", name), ("soon", name))

    def take(self, what: str, name: str, run: int) -> None:
        """Start a run, or cancel it."""
        if what == "cancel":
            if (task := self._runs.get(name)) is not None:
                task.cancel()
        elif name in self._checks:
            task = asyncio.get_running_loop().create_task(self._answer(name, run))
            task.add_done_callback(partial(self._tell_end, name, run))
            self._runs[name] = task

    def abandon(self) -> None:
        """Cancel all runs: who asked for them is gone."""
        for task in self._runs.values():
            task.cancel()

    async def close(self) -> None:
        """End all runs and close the checks; what hangs is left behind."""
        self.abandon()
        if runs := [task for task in self._runs.values() if not task.done()]:
            await asyncio.wait(runs, timeout=_CLOSE)
        idle = {name: check for name, (check, _) in self._checks.items() if self._is_idle(name)}
        await close_checks(idle, _CLOSE)

    def _is_idle(self, name: str) -> bool:
        return not self._free[name].locked()

    async def _answer(self, name: str, run: int) -> str:
        """Run a check, once its last run has ended; return what was wrong."""
        check, timeout = self._checks[name]
        async with self._free[name]:
            return await self._run(name, check, run, timeout)

    def _tell_end(self, name: str, run: int, task: asyncio.Task[str]) -> None:
        """Say how a run went, also one that was cancelled before its first step."""
        wrong = "cancelled" if task.cancelled() else task.result()
        self._put(("ended", name), ("ended", name, run, wrong))

    async def _run(self, name: str, check: Check, run: int, limit: float) -> str:
        def tell(*, waiting: bool) -> None:
            self._put(("line", name), ("line", name, run, waiting))

        check.doing, check.in_line = "", tell
        say = partial(self._say_doing, name, check, run)
        saying = asyncio.get_running_loop().call_later(_TELL_AFTER * limit, say)
        try:
            await run_check(check)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 -- whatever it is, it is the run's result
            return told_of(check, error)[:_LONGEST] or "failed"
        finally:
            saying.cancel()
        return ""

    def _say_doing(self, name: str, check: Check, run: int) -> None:
        if check.doing:
            self._put(("doing", name), ("doing", name, run, check.redact(check.doing)[:_LONGEST]))

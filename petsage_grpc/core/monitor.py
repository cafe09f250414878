"""Runs the checks on their schedule, and is the one writer of their states and of the names."""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from petsage_grpc.core.check import Check, CheckFailedError
from petsage_grpc.core.check_state import CheckState, Result
from petsage_grpc.core.clock import Clock, Timer
from petsage_grpc.core.fold import Rule, fold_health, fold_name
from petsage_grpc.core.names import Names
from petsage_grpc.core.policy import Policy
from petsage_grpc.core.status import Health, Verdict
from petsage_grpc.core.units import format_duration

__all__ = ["CheckReport", "Monitor", "Report"]

_STOP_TIMEOUT: Final = 0.2
"""Seconds that runs get to end when the monitor stops."""

_log = logging.getLogger("petsage_grpc.monitor")


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What is known of one check at one moment."""

    name: str
    verdict: Verdict
    last: Result | None
    failures: int
    """Failures in a row."""
    names: tuple[str, ...]
    """The health names that need it."""


@dataclass(frozen=True, slots=True)
class Report:
    """What is known of some checks, or of all, at one moment."""

    health: Health
    """What they amount to."""
    checks: tuple[CheckReport, ...]
    draining: bool
    revision: int
    valid_until: float
    """The moment of the monitor's clock from which on time alone makes it untrue."""


@dataclass(slots=True)
class _Entry:
    """A check with all that the monitor keeps of it."""

    name: str
    check: Check
    state: CheckState
    names: tuple[str, ...]
    run: asyncio.Task[None] | None = None
    started: float = float("-inf")
    overdue: bool = False  # the run has been given up, but has not ended
    hangs: bool = False  # it has not even ended by the time of the next one
    shown: Verdict = Verdict.PENDING  # what the log said last
    settled: asyncio.Future[None] | None = None  # done when the run has its result
    next_run: Timer | None = None
    deadline: Timer | None = None
    staleness: Timer | None = None


async def _run(check: Check) -> None:
    try:
        await check.run()
    except (SystemExit, KeyboardInterrupt) as error:  # these would end the loop, and the plane
        raise CheckFailedError(f"raised {error!r}") from error


class Monitor:
    """Runs checks, keeps their states and puts what follows from them into the names.

    All of it happens on one event loop. A run belongs to the monitor alone: whoever waits for it
    may go away without ending it, and there is never a second run of a check beside the first.

    Args:
        checks: every check with its policy, by name.
        rules: what each health name needs, see `make_rules`.
        names: where the answers are put.
        clock: tells the time.
        refresh_interval: seconds that lie at least between two starts of a check that callers of
            `refresh` cause.
        spread: a number between 0 and 1, by chance; it is what jitter is made of.
    """

    def __init__(
        self,
        checks: Mapping[str, tuple[Check, Policy]],
        rules: Mapping[str, Rule],
        names: Names,
        clock: Clock,
        *,
        refresh_interval: float = 1.0,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._rules = rules
        self._names = names
        self._clock = clock
        self._refresh_interval = refresh_interval
        self._spread = spread
        self.revision = 0
        """Counts what has happened; a report holds as long as it stands still."""
        self._draining = False
        self._stopped = False
        self._states = {name: CheckState(policy) for name, (_, policy) in checks.items()}
        self._entries = {
            name: _Entry(
                name,
                check,
                self._states[name],
                tuple(health_name for health_name, rule in rules.items() if name in rule.checks),
            )
            for name, (check, _) in checks.items()
        }
        self._fold(rules)

    def start(self) -> None:
        """Start the first run of every check."""
        for entry in self._entries.values():
            self._start_run(entry)

    def drain(self) -> None:
        """Turn every name that drains NOT_SERVING, for good; the checks go on."""
        self._draining = True
        self.revision += 1
        self._fold(self._rules)

    async def stop(self) -> None:
        """End all runs and timers and close the checks; one that hangs is left behind unclosed."""
        self._stopped = True
        runs = []
        for entry in self._entries.values():
            for timer in (entry.next_run, entry.deadline, entry.staleness):
                if timer is not None:
                    timer.cancel()
            if entry.run is not None and not entry.overdue:
                entry.run.cancel()
                runs.append(entry.run)
            self._release(entry)
        if runs:
            await asyncio.wait(runs, timeout=_STOP_TIMEOUT)
        closing = [
            asyncio.ensure_future(entry.check.close())
            for entry in self._entries.values()
            if entry.run is None
        ]
        if closing:
            await asyncio.wait(closing, timeout=_STOP_TIMEOUT)
        for task in closing:
            if not task.done():
                task.cancel()
            elif error := task.exception():
                _log.warning("a check did not close: %s", error)

    def report(self, names: Iterable[str] | None = None) -> Report:
        """Say what is known of the checks of these names now, or of all of them.

        Raises KeyError with the first name that is no check's.
        """
        now, valid_until, checks = self._clock.now(), float("inf"), []
        for entry in self._pick(names):
            state, verdict = entry.state, entry.state.verdict(now)
            if verdict in (Verdict.PASSING, Verdict.FAILING):
                valid_until = min(valid_until, state.fresh_until)
            checks.append(CheckReport(entry.name, verdict, state.last, state.failures, entry.names))
        broken = {check.name for check in checks if check.verdict is not Verdict.PASSING}
        health = fold_health(self._rules, self._states, broken, now=now)
        return Report(health, tuple(checks), self._draining, self.revision, valid_until)

    def is_current(self, report: Report) -> bool:
        """Say whether a report, made before, still holds."""
        return report.revision == self.revision and self._clock.now() < report.valid_until

    async def refresh(self, max_age: float, names: Iterable[str] | None = None) -> None:
        """Wait until the results of these checks, or of all, are at most `max_age` seconds old.

        A result that is older is fetched by a new run, or by the one under way. However many ask, a
        check is started for them at most once in a refresh interval; who comes sooner gets the last
        result. It ends at the latest when the checks' timeouts are over.

        Raises KeyError with the first name that is no check's.
        """
        now = self._clock.now()
        awaited = []
        for entry in self._pick(names):
            last = entry.state.last
            if last is not None and now - last.at <= max_age:
                continue
            if entry.run is None and now - entry.started >= self._refresh_interval:
                self._start_run(entry)
            if entry.settled is not None:
                awaited.append(entry.settled)
        if awaited:
            await asyncio.wait(awaited)  # leaves them alone when the caller goes away

    def _pick(self, names: Iterable[str] | None) -> Iterable[_Entry]:
        if names is None:
            return self._entries.values()
        return [self._entries[name] for name in names]

    def _start_run(self, entry: _Entry) -> None:
        if self._stopped:
            return
        if entry.next_run is not None:
            entry.next_run.cancel()
            entry.next_run = None
        entry.started = self._clock.now()
        entry.check.doing = ""
        loop = asyncio.get_running_loop()
        entry.settled = loop.create_future()
        entry.run = loop.create_task(_run(entry.check), name=f"petsage check {entry.name}")
        entry.run.add_done_callback(lambda run: self._ended(entry, run))
        entry.deadline = self._clock.call_later(
            entry.state.policy.timeout, lambda: self._give_up(entry)
        )

    def _ended(self, entry: _Entry, run: asyncio.Task[None]) -> None:
        entry.run = None
        if entry.deadline is not None:
            entry.deadline.cancel()
        error = None if run.cancelled() else run.exception()
        if self._stopped:
            return
        if entry.overdue:  # its failure has been counted; what it says now is too late to matter
            entry.overdue = False
            if entry.hangs:  # what held it has let go: see soon what it is like now
                entry.hangs = False
                policy = entry.state.policy
                self._schedule(entry, min(policy.edge_interval, policy.interval))
        elif run.cancelled():
            self._settle(entry, "failed", "the check cancelled itself")
        elif error is not None:
            self._settle(entry, "failed", str(error) or type(error).__name__)
        else:
            self._settle(entry, "", "")

    def _give_up(self, entry: _Entry) -> None:
        """Count a run that is over its timeout as failed and put it into quarantine."""
        assert entry.run is not None
        entry.overdue = True
        entry.run.cancel()
        self._settle_late(entry, f"timed out after {format_duration(entry.state.policy.timeout)}")

    def _tick(self, entry: _Entry) -> None:
        """Do what is due: a run, or one more failure while the last run still hangs."""
        if entry.run is None:
            self._start_run(entry)
            return
        entry.hangs = True
        hung = format_duration(round(self._clock.now() - entry.started, 1))
        self._settle_late(entry, f"hangs since {hung}")

    def _settle_late(self, entry: _Entry, message: str) -> None:
        doing = f" while {entry.check.doing}" if entry.check.doing else ""
        self._settle(entry, message, message + doing)

    def _settle(self, entry: _Entry, message: str, detail: str) -> None:
        """Let the one result of a run in; no message means that it passed."""
        now, state = self._clock.now(), entry.state
        self.revision += 1
        state.observe(
            Result(not message, now, self._clock.wall_time(), now - entry.started, message, detail)
        )
        if state.failures == 1:
            _log.warning("check %s failed: %s", entry.name, detail)
        if entry.staleness is not None:
            entry.staleness.cancel()
        entry.staleness = self._clock.call_later(
            state.policy.believed_for, lambda: self._show(entry)
        )
        self._show(entry)
        self._release(entry)
        self._schedule(entry, state.next_delay)

    def _show(self, entry: _Entry) -> None:
        """Put what the state of a check is now into the names, and into the log if it turned."""
        verdict = entry.state.verdict(self._clock.now())
        if verdict is not entry.shown:
            level = logging.INFO if verdict is Verdict.PASSING else logging.ERROR
            _log.log(level, "check %s is %s, was %s", entry.name, verdict.value, entry.shown.value)
            entry.shown = verdict
        self._fold(entry.names)

    def _schedule(self, entry: _Entry, delay: float) -> None:
        if entry.next_run is not None:
            entry.next_run.cancel()
        delay *= 1 - entry.state.policy.jitter * self._spread()
        entry.next_run = self._clock.call_later(delay, lambda: self._tick(entry))

    @staticmethod
    def _release(entry: _Entry) -> None:
        if entry.settled is not None:
            entry.settled.set_result(None)
            entry.settled = None

    def _fold(self, names: Iterable[str]) -> None:
        now = self._clock.now()
        for name in names:
            answer = fold_name(self._rules[name], self._states, now=now, draining=self._draining)
            self._names.put(name, answer)

"""Runs the checks on their schedule, and is the one writer of their states and of the names."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

from petsage_grpc.core.check import Check
from petsage_grpc.core.check_state import CheckState, Result
from petsage_grpc.core.clock import Clock, chance
from petsage_grpc.core.entry import Entry
from petsage_grpc.core.fold import Answer, Rule, fold_name, rule_without
from petsage_grpc.core.names import Names
from petsage_grpc.core.passive import PassiveCheck, Said
from petsage_grpc.core.policy import Policy
from petsage_grpc.core.report import Override, Report, make_report
from petsage_grpc.core.runner import Runner, close_checks
from petsage_grpc.core.status import Status, Verdict
from petsage_grpc.core.words import Words

__all__ = ["Monitor"]

_STOP_TIMEOUT: Final = 0.2
"""Seconds that runs get to end when the monitor stops."""

_FOR_THE_LOOP: Final = 0.1
"""Seconds that a caller waits beyond a timeout, so that its result can come in."""

_FIRST_AT_ONCE: Final = 10
"""First runs that begin together, so that many checks do not all begin in one moment."""
_FIRST_APART: Final = 0.01
"""Seconds after which the next ones begin."""

_log = logging.getLogger("petsage_grpc.monitor")


class Monitor:
    """Runs checks, keeps their states and puts what follows from them into the names.

    All of it happens on one event loop. A run belongs to the monitor alone: whoever waits for it
    may go away without ending it, and there is never a second run of a check beside the first.

    Args:
        checks: every check with its policy, by name.
        rules: what each health name needs, see `make_rules`.
        names: where the answers are put.
        clock: tells the time.
        words: what is said of the names besides.
        refresh_interval: seconds that lie at least between two starts of a check that callers of
            `refresh` cause.
        history: transitions that are kept of each check.
        spread: a number between 0 and 1, by chance; it is what jitter is made of.
    """

    def __init__(
        self,
        checks: Mapping[str, tuple[Check, Policy]],
        rules: Mapping[str, Rule],
        names: Names,
        clock: Clock,
        *,
        words: Words | None = None,
        refresh_interval: float = 1.0,
        history: int = 16,
        spread: Callable[[], float] = chance,
    ) -> None:
        self._rules = rules
        self._names = names
        self._clock = clock
        self._refresh_interval = refresh_interval
        self._spread = spread
        self.revision = 0
        """Counts what has happened; a report holds as long as it stands still."""
        self._down = True  # until it starts, and while it drains
        self._stopped = False
        self._entries: dict[str, Entry] = {}
        self._states: dict[str, CheckState] = {}
        self._history = history
        self._words = Words(clock) if words is None else words
        gated: dict[str, list[str]] = {name: [] for name in checks}
        for health_name, rule in rules.items():
            for name in rule.checks:
                gated[name].append(health_name)
        for name, (check, policy) in checks.items():
            self._take_in(name, check, policy, gated[name])
        names.source = self
        self._fold(rules)

    def start(self) -> None:
        """Start the first run of every check, and listen to those that are reported."""
        active, self._down = 0, self._names.draining
        for entry in self._entries.values():
            self._begin(entry, active // _FIRST_AT_ONCE * _FIRST_APART)
            active += entry.runner is not None
        self._fold(self._rules)

    def add(
        self, name: str, check: Check, policy: Policy, rules: Mapping[str, Rule], delay: float = 0.0
    ) -> None:
        """Take in one more check after the start, and begin with it after so many seconds.

        Its name is one that no other has, and the rules say what each health name needs now.
        """
        self._rules = rules
        gated = [health for health, rule in rules.items() if name in rule.checks]
        self._take_in(name, check, policy, gated)
        self.revision += 1
        self._begin(self._entries[name], delay)
        self._fold(self._entries[name].names)

    def drain(self) -> None:
        """Turn every name that drains NOT_SERVING, for good; the checks go on."""
        self._down = True
        self._names.drain()
        self.revision += 1
        self._fold(self._rules)

    async def stop(self) -> None:
        """End all runs and timers and close the checks; one that hangs is left behind unclosed."""
        self._stopped = True
        self._words.close()
        if runs := [run for e in self._entries.values() if (run := e.halt()) is not None]:
            await asyncio.wait(runs, timeout=_STOP_TIMEOUT)
        ended = (e for e in self._entries.values() if e.runner is None or not e.runner.running)
        await close_checks({entry.name: entry.check for entry in ended}, _STOP_TIMEOUT)

    @property
    def quarantined(self) -> int:
        """How many checks have a run that is over its time and has not ended."""
        runners = (entry.runner for entry in self._entries.values())
        return sum(runner is not None and runner.quarantined for runner in runners)

    def report(self, names: Iterable[str] | None = None) -> Report:
        """Say what is known of the checks of these names now, or of all of them.

        Raises KeyError with the first name that is no check's.
        """
        entries = list(self._pick(names))
        self._catch_up(entries)
        said = [Override(word, self._by_checks(word.name)) for word in self._words]
        return make_report(
            entries, self._rules, self._states, said, now=self._clock.now(),
            draining=self._names.draining, revision=self.revision + self._words.revision,
        )  # fmt: skip

    def is_current(self, report: Report) -> bool:
        """Say whether a report, made before, still holds."""
        current = self.revision + self._words.revision
        return report.revision == current and self._clock.now() < report.valid_until

    def answer(self, name: str, hops: frozenset[str] = frozenset()) -> Answer:
        """Say what a name answers now, without the checks that lead to one of these backends."""
        rule = self._rules[name]
        self._catch_up([self._entries[check] for check in rule.checks])
        if hops:
            back = [n for n in rule.checks if self._entries[n].check.reaches & hops]
            rule = rule_without(rule, back)
        return fold_name(rule, self._states, now=self._clock.now(), draining=self._down)

    async def refresh(self, max_age: float, names: Iterable[str] | None = None) -> None:
        """Wait until the results of these checks, or of all, are at most `max_age` seconds old.

        A result that is older is fetched by a new run, or by the one under way. However many ask, a
        check is started for them at most once in a refresh interval, or in its edge interval if
        that is longer; who comes sooner gets the last result, and so does who asks for a passive
        check. It ends at the latest when the checks' timeouts are over.

        Raises KeyError with the first name that is no check's.
        """
        now, longest = self._clock.now(), 0.0
        awaited = []
        for entry in self._pick(names):
            last, runner = entry.state.last, entry.runner
            if runner is None or (last is not None and now - last.at <= max_age):
                continue
            pause = max(self._refresh_interval, entry.edge)  # callers must not make it fall faster
            if not runner.running and now - runner.started >= pause:
                self._start_run(entry)
            if runner.settled is not None:
                awaited.append(runner.settled)
            longest = max(longest, entry.state.policy.timeout)
        if awaited:  # wait() leaves them alone when the caller goes away
            await asyncio.wait(awaited, timeout=longest + _FOR_THE_LOOP)

    def _by_checks(self, name: str) -> Status | None:
        return self._names.read_checks(name) if name in self._rules else None

    def _take_in(self, name: str, check: Check, policy: Policy, names: Iterable[str]) -> None:
        silence = check.max_silence if isinstance(check, PassiveCheck) else None
        self._states[name] = CheckState(policy, believed_for=silence, history=self._history)
        self._entries[name] = Entry(name, check, self._states[name], tuple(names))

    def _begin(self, entry: Entry, delay: float) -> None:
        """Begin to run a check, or to listen to it."""
        entry.state.since = entry.check.since or self._clock.now()
        self._watch_staleness(entry)
        if isinstance(entry.check, PassiveCheck):
            entry.check.wanted = True  # it may have settled in an earlier life
            entry.check.connect(self._clock.now, partial(self._hear, entry, entry.check))
            return
        self._equip(entry)
        if delay:
            self._start_after(entry, delay)
        else:
            self._start_run(entry)

    def _pick(self, names: Iterable[str] | None) -> Iterable[Entry]:
        if names is None:
            return self._entries.values()
        return [self._entries[name] for name in names]

    def _equip(self, entry: Entry) -> None:
        entry.runner = Runner(
            entry.name,
            entry.check,
            entry.state.policy.timeout,
            self._clock,
            patience=entry.state.believed_for,
            settle=lambda message, detail: self._settle(entry, message, detail),
            freed=lambda missed: self._freed(entry, missed=missed),
        )
        entry.check.run_soon = partial(self.run_soon, entry.name)

    def _start_run(self, entry: Entry) -> None:
        if self._stopped or entry.runner is None:
            return
        if entry.next_run is not None:
            entry.next_run.cancel()
        entry.next_at = float("inf")
        entry.runner.start()

    def _tick(self, entry: Entry) -> None:
        """Do what is due: a run, or one more failure while the last run still hangs."""
        assert entry.runner is not None
        if entry.runner.running:
            entry.runner.miss()
        else:
            self._start_run(entry)

    def run_soon(self, name: str) -> None:
        """Start a run at once, but not sooner than an edge interval after the last one began."""
        entry = self._entries[name]
        if self._stopped or entry.runner is None:
            return
        if entry.runner.running:  # what was heard may be newer than what the run has asked for
            entry.again = True
            return
        delay = max(0.0, entry.runner.started + entry.edge - self._clock.now())
        if self._clock.now() + delay < entry.next_at:
            self._start_after(entry, delay)

    def _settle(self, entry: Entry, message: str, detail: str) -> None:
        """Let the one result of a run in; no message means that it passed."""
        assert entry.runner is not None
        now = self._clock.now()
        latency = now - entry.runner.started
        result = Result(not message, now, self._clock.wall_time(), latency, message, detail)
        self._observe(entry, result)
        delay, entry.again = entry.edge if entry.again else entry.state.next_delay, False
        # A run that is over its time may end soon, or be missed when the next one is due.
        self._schedule(entry, delay if entry.runner.running else delay - latency)

    def _freed(self, entry: Entry, *, missed: bool) -> None:
        """Plan the next run once one that was over its time has ended."""
        assert entry.runner is not None
        late = self._clock.now() - entry.runner.started
        delay = entry.edge if missed else entry.state.next_delay - late
        if entry.again:  # what it heard meanwhile can be looked at now
            delay, entry.again = entry.edge - late, False
        self._schedule(entry, delay)

    def _observe(self, entry: Entry, result: Result) -> None:
        state = entry.state
        self.revision += 1
        state.observe(result)
        if state.failures == 1:
            _log.warning("check %s failed: %s", entry.name, result.detail)
        self._show(entry)

    def _show(self, entry: Entry) -> None:
        """Note what the state of a check is now; if it turned, tell the log and the names."""
        state, before = entry.state, entry.state.shown
        turned = state.note(self._clock.now(), self._clock.wall_time())
        if turned is not None:
            self.revision += 1
            turned.tell(_log, entry.name, before)
            self._fold(entry.names)
        if isinstance(entry.check, PassiveCheck):
            entry.check.wanted = state.shown is not Verdict.PASSING or not state.settled
            if turned is not None and turned.verdict is Verdict.STALE:
                entry.held = []  # this loop may have stood still, and what followed be here
                self._clock.call_later(0.0, partial(self._told, entry, entry.check))
        if entry.staleness is None and state.shown is not Verdict.STALE:
            self._watch_staleness(entry)

    def _watch_staleness(self, entry: Entry) -> None:
        """Look again when the last result will have become too old; newer ones put it off."""
        left = entry.state.fresh_until - self._clock.now()
        entry.staleness = self._clock.call_later(left, lambda: self._look(entry))

    def _look(self, entry: Entry) -> None:
        entry.staleness = None
        if isinstance(entry.check, PassiveCheck):
            entry.check.wanted = True  # first, so that no beat comes between the look and the word
            self._hear(entry, entry.check)
        self._show(entry)

    def _schedule(self, entry: Entry, delay: float) -> None:
        """Plan the next run, a little sooner by chance."""
        jitter = entry.state.policy.jitter
        if entry.state.settled and not entry.phased:
            entry.phased, jitter = True, 1.0  # what began together must not go on together
        self._start_after(entry, delay * (1 - jitter * self._spread()))

    def _start_after(self, entry: Entry, delay: float) -> None:
        if entry.next_run is not None:
            entry.next_run.cancel()
        delay = max(0.0, delay)
        entry.next_at = self._clock.now() + delay
        entry.next_run = self._clock.call_later(delay, lambda: self._tick(entry))

    def _hear(self, entry: Entry, check: PassiveCheck, held: Sequence[Said] = ()) -> None:
        """Take in the reports of a passive check, but not before watchers know of a silence."""
        if entry.held is None and not self._stopped:
            news = [*held, *check.news()]  # before the look at what they may have broken
            if check.broke_silence() and entry.state.verdict(self._clock.now()) is Verdict.STALE:
                self._show(entry)
            for said in news:
                if not entry.holds(said):
                    self._observe(entry, said.as_result(check, self._clock))

    def _told(self, entry: Entry, check: PassiveCheck) -> None:
        held, entry.held = entry.held or (), None
        self._hear(entry, check, held)

    def _catch_up(self, entries: Iterable[Entry]) -> None:
        """Take in what was reported and note what has gone stale, also where a timer is late."""
        for entry in entries:
            if isinstance(entry.check, PassiveCheck):
                self._hear(entry, entry.check)
            if entry.state.verdict(self._clock.now()) is not entry.state.shown:
                self._show(entry)

    def _fold(self, names: Iterable[str]) -> None:
        now = self._clock.now()
        for name in names:
            answer = fold_name(self._rules[name], self._states, now=now, draining=self._down)
            self._names.put(name, answer)

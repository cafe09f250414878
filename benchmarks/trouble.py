"""What a prober is told while the application is in trouble: by the stock servicer, and by a plane.

`make bench-trouble` brings an application of its own into each trouble, some rounds by each host.
"""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import plane_cost
import trouble_run
from processes import AIO, HERE, SYNC
from report import Line, main
from trouble_run import HOSTS, Taken, Trouble

from tests.observers import TOLERANCE

__all__ = ["rows"]

_WINDOW: Final = (3.0, 1.0)
"""Seconds for which a trouble is probed, and in a quick run."""
_HELD: Final = (5.0, 2.0)
"""Seconds for which an application is held or stopped, likewise."""
_MAX_SILENCE: Final = 1.0
_MOST: Final = 10
"""Rounds at most, where some were disturbed."""
_FEWEST: Final = 3
"""Rounds that have to tell of time: where there are less, all count."""
_REFERENCES: Final = {"sync": SYNC, "aio": AIO}


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a plane in a trouble."""

    p99: float | None = None
    """Milliseconds."""
    none_missed: bool = False
    turns: bool = False
    """Whether liveness and readiness have to turn in time."""
    turns_when_over: bool = False
    """Whether they have to, but only when the trouble is over."""
    told: bool = False
    """Whether the watchers have to be told, before nobody answers any more."""
    refused: bool = False
    port_free: float | None = None
    """Seconds after which its port has to be free, and nothing left."""

    def met(self, trouble: Trouble, rounds: Sequence[Taken]) -> bool:
        """Say whether it is so in each round; the p99 is the median of those that tell of it."""
        told = [at for taken in rounds for at in taken.turned.values()]
        bound = (trouble.turns_after or 0.0) + TOLERANCE
        limit = self.port_free
        return all(
            (
                not any(taken.wrong for taken in rounds),
                self.p99 is None or _p99(rounds) <= self.p99,
                not self.none_missed or not any(taken.missed for taken in rounds),
                not self.turns or all(at is not None and at <= bound for at in told),
                not self.turns_when_over or all(_turns_when_over(taken) for taken in rounds),
                not self.told or None not in told,
                not self.refused or all(taken.refused for taken in rounds),
                limit is None or all(_is_free(taken, limit) for taken in rounds),
            )
        )

    def describe(self, trouble: Trouble) -> str:
        """Write it for the table."""
        words = [
            "none missed" if self.none_missed else "",
            "" if self.p99 is None else f"p99 <= {self.p99:g} ms",
            f"turns <= {(trouble.turns_after or 0.0) + TOLERANCE:g} s" if self.turns else "",
            f"turns <= {TOLERANCE:g} s after it" if self.turns_when_over else "",
            "NOT_SERVING" if self.told else "",
            "refused" if self.refused else "",
            "" if self.port_free is None else f"port free <= {self.port_free:g} s",
        ]
        return ", ".join(filter(None, words)) or "-"


def _turns_when_over(taken: Taken) -> bool:
    turned = taken.turned.values()
    return all(at is not None and at <= taken.lasted + TOLERANCE for at in turned)


def _is_free(taken: Taken, limit: float) -> bool:
    return taken.port_free is not None and taken.port_free <= limit and not taken.left


def _p99(rounds: Sequence[Taken]) -> float:
    telling = [taken for taken in rounds if taken.tells_time]
    return statistics.median(
        taken.p99 for taken in (telling if len(telling) >= _FEWEST else rounds)
    )


@dataclass(frozen=True)
class Troubled(Line):
    """One trouble, with what each host told meanwhile."""

    header = (
        "trouble in the application", "against", "reference", "thread", "process",
        "target: thread", "target: process", "verdict",
    )  # fmt: skip

    trouble: Trouble
    rounds: dict[str, list[Taken]]
    """By the host."""
    wanted: dict[str, Wanted]
    """By the host; of the reference nothing is wanted."""

    @property
    def met(self) -> bool:
        """Whether every target is met."""
        return all(wanted.met(self.trouble, self.rounds[h]) for h, wanted in self.wanted.items())

    def cells(self) -> tuple[str, ...]:
        """Write the line for the table."""
        verdict = ("met" if self.met else "NOT met") if self.wanted else "-"
        return *self.readme_cells(), verdict

    def readme_cells(self) -> tuple[str, ...]:
        """Write the line for the README."""
        return (
            self.trouble.words,
            self._against,
            *(self._tell(host) for host in HOSTS),
            *(self._target(host) for host in HOSTS[1:]),
        )

    def as_json(self) -> dict[str, object]:
        """Write the line for a file, with every round."""
        return {
            "trouble": self.trouble.words,
            "against": self._against,
            "told": {host: self._tell(host) for host in HOSTS},
            "targets": {host: self._target(host) for host in HOSTS[1:]},
            "met": self.met,
            "rounds": {
                host: [taken.as_json() for taken in rounds] for host, rounds in self.rounds.items()
            },
        }

    @property
    def _against(self) -> str:
        return _REFERENCES[self.trouble.server]

    def _target(self, host: str) -> str:
        return self.wanted[host].describe(self.trouble) if host in self.wanted else "-"

    def _tell(self, host: str) -> str:
        """Tell in words what was seen of it."""
        rounds = self.rounds[host]
        if self.trouble.dies:
            return _tell_end(rounds)
        words = _tell_answers(rounds)
        return words if self.trouble.turns_after is None else f"{words}; {_tell_turns(rounds)}"


def _tell_answers(rounds: Sequence[Taken]) -> str:
    probes = sum(len(taken.said) for taken in rounds)
    missed, wrong = (
        sum(counts) for counts in zip(*((t.missed, t.wrong) for t in rounds), strict=True)
    )
    told = [f"{missed} of {probes} missed"] if missed else []
    told += [f"{wrong} of {probes} wrong"] if wrong else []
    within_deadline = [f"p99 {_p99(rounds):.1f} ms"] if _p99(rounds) < trouble_run.DEADLINE else []
    return ", ".join(within_deadline + told)


def _tell_turns(rounds: Sequence[Taken]) -> str:
    """Tell the latest of each name."""
    turns = [(name, _latest(taken.turned[name] for taken in rounds)) for name in rounds[0].turned]
    words = [f"{name} turns after {at:.2f} s" for name, at in turns if at is not None]
    return ", ".join(words) or "nothing turns"


def _tell_end(rounds: Sequence[Taken]) -> str:
    told = _latest(at for taken in rounds for at in taken.turned.values())
    free = _latest(taken.port_free for taken in rounds)
    left = sum(taken.left for taken in rounds)
    words = [
        "" if told is None else f"NOT_SERVING after {told:.2f} s",
        "refused" if all(taken.refused for taken in rounds) else "not refused",
        "port not free" if free is None else f"port free after {free:.2f} s",
        f"{left} processes left" if left else "",
    ]
    return ", ".join(filter(None, words))


def _latest(times: Iterable[float | None]) -> float | None:
    """Give the last of them; None if one has not come."""
    known = [*times]
    came = [at for at in known if at is not None]
    return max(came) if len(came) == len(known) else None


_QUICK, _FAIR = Wanted(p99=5.0), Wanted(p99=10.0)
_TROUBLES: Final = {
    Trouble(
        "sync pool full (10 workers, 3 s calls)",
        "sync", trouble_run.called, _WINDOW, call=3.0, callers=20, rounds=5,
    ): {"thread": _QUICK, "process": _QUICK},
    Trouble(
        "aio loop blocked 1.5 s at a time",
        "aio", trouble_run.called, _WINDOW, call=1.5, callers=4, rounds=5,
    ): {"thread": _QUICK, "process": _QUICK},
    Trouble("4 busy Python threads", "aio", trouble_run.busy(4), _WINDOW, rounds=5): {
        "thread": Wanted(p99=50.0), "process": _FAIR,
    },
    Trouble("16 busy Python threads", "aio", trouble_run.busy(16), _WINDOW, rounds=5): {
        "process": _FAIR,
    },
    Trouble(
        "one C call that holds the lock 5 s", "aio", trouble_run.hold, _HELD,
        turns_after=_MAX_SILENCE, max_silence=_MAX_SILENCE, rounds=5,
    ): {
        "thread": Wanted(turns_when_over=True),
        "process": Wanted(p99=5.0, none_missed=True, turns=True),
    },
    Trouble(
        "SIGSTOP of the application, 5 s", "aio", trouble_run.freeze, _HELD,
        turns_after=_MAX_SILENCE, max_silence=_MAX_SILENCE, rounds=5,
    ): {"process": Wanted(turns=True)},
    Trouble(
        "application killed -9", "aio", trouble_run.kill, (1.0, 1.0), turns_after=0.0, dies=True
    ): {
        "thread": Wanted(refused=True),
        "process": Wanted(told=True, refused=True, port_free=1.0),
    },
}  # fmt: skip


def rows(*, quick: bool) -> list[Troubled]:
    """Bring an application with each host into each trouble."""
    return [_take(trouble, wanted, quick=quick) for trouble, wanted in _TROUBLES.items()]


def _take(trouble: Trouble, wanted: dict[str, Wanted], *, quick: bool) -> Troubled:
    rounds: dict[str, list[Taken]] = {host: [] for host in HOSTS}
    timed = {host for host, its in wanted.items() if its.p99 is not None}
    enough = 1 if quick else trouble.rounds
    for number in range(enough if quick else _MOST):
        for host in HOSTS if number % 2 else HOSTS[::-1]:
            telling = sum(taken.tells_time for taken in rounds[host])
            if number < enough or (host in timed and telling < enough):
                rounds[host].append(trouble_run.take(trouble, host, quick=quick))
    return Troubled(trouble, rounds, wanted)


if __name__ == "__main__":
    main({"trouble": rows, "what a plane costs": plane_cost.rows}, HERE / "trouble.json")

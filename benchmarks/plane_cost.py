"""What a plane costs the application that embeds it: a beat, memory and the time of its start."""

from dataclasses import dataclass
from typing import Final

from processes import AIO, Memory, alternate
from report import Row, Target, main
from trouble_run import HOSTS, application

__all__ = ["rows"]

_ROUNDS: Final = 5
_BEAT_LIMIT: Final = 1000.0
"""Nanoseconds that a beat may take."""


class Cost(Row):
    """One figure of the table of costs."""

    header = ("cost", *Row.header[1:])


@dataclass(frozen=True)
class _Taken:
    start: float
    """Milliseconds from when it began to start its health server to the first SERVING."""
    memory: Memory
    beat: float
    """Nanoseconds."""


def rows(*, quick: bool) -> list[Cost]:
    """Start an application on grpc.aio with each host, by turns."""
    takes = {host: lambda host=host: _take(host) for host in HOSTS}
    taken = alternate(takes, 1 if quick else _ROUNDS)
    return [row for host in HOSTS[1:] for row in _compare(host, taken[host], taken[HOSTS[0]])]


def _take(host: str) -> _Taken:
    with application(host, "aio") as app:
        memory = Memory.of(*app.pids)
        beat = 0.0
        if host != HOSTS[0]:
            app.talker.say("beat")
            beat = float(app.talker.hear().split()[0])
        return _Taken((app.serving - app.started) * 1e3, memory, beat)


def _compare(host: str, ours: list[_Taken], reference: list[_Taken]) -> list[Cost]:
    target = Target(at_most=1.0)
    rows = [
        Cost(
            f"beat() ({host})", "ns", "our limit", [_BEAT_LIMIT] * len(ours),
            [taken.beat for taken in ours], target,
        ),
        Cost(
            f"start to the first SERVING ({host})", "ms", AIO,
            [taken.start for taken in reference], [taken.start for taken in ours],
        ),
        Cost(
            f"memory (RSS), its child's too ({host})", "MiB", AIO,
            [taken.memory.resident for taken in reference],
            [taken.memory.resident for taken in ours],
        ),
    ]  # fmt: skip
    pairs = [
        (taken.memory.proportional, than.memory.proportional)
        for taken, than in zip(ours, reference, strict=True)
    ]
    shared = [(mine, its) for mine, its in pairs if mine is not None and its is not None]
    if shared:
        mine, its = map(list, zip(*shared, strict=True))
        rows.append(Cost(f"memory (PSS), its child's too ({host})", "MiB", AIO, its, mine))
    return rows


if __name__ == "__main__":
    main({"what a plane costs": rows})

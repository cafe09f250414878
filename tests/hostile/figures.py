"""What crowds of watchers do to an application's health plane, beside the stock servicer."""

import contextlib
import json
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from tests.hostile.crowd import Crowd, State
from tests.hostile.onlooker import Onlooker
from tests.hostile.subjects import GIVES_BACK, Body, wait_until
from tests.processes import PATIENCE, clean_environment
from tests.steal import Stolen

__all__ = ["Figure", "readers", "stalled", "strangers"]

NAME: Final = "crowd"
OURS, REFERENCE = "service", "reference"
_ONLOOKER: Final = "127.0.0.1"
_CHANGES: Final = 20
_SEND_TIMEOUT: Final = 1.0
_PERIOD: Final = 0.02
"""Seconds from Check to Check where they are timed."""
_BLOCKED: Final = 2.0
"""Seconds after which a `set` that has not returned is called blocked."""
_CROWD_PATIENCE: Final = 60.0
_SUBSCRIBE: Final = 3.0
_RATIO: Final = 2.0
_UNCOMPARED: Final = dict.fromkeys(("missed", "ratio", "seen", "set", "stop", "back"), "-")
_BACK: Final = 1.10
"""How much more memory than before may be left when a crowd has gone."""
_SMALL: Final = 100
"""Watchers that have been there before memory is counted: what is made once is no leak."""
_BYTES: Final = 24_000
_CALM: Final = 0.01
"""The part of the processors' time that other machines may get where times are judged."""
_MOST: Final = 3
"""How many times as many rounds there are at most, where some were disturbed."""


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    name: str
    ours: str
    reference: str = "-"
    target: str = ""
    met: bool | None = None
    """Whether it is as it should be; None when it is told alone."""


class _Told:
    """A process of ours that answers each line with one of JSON."""

    def __init__(self, module: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"tests.hostile.{module}", *arguments], text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=clean_environment(**GIVES_BACK),
        )  # fmt: skip

    def hear(self, seconds: float) -> str:
        """Read its next line. Raises TimeoutError."""
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            raise TimeoutError
        return self.process.stdout.readline()

    def ask(self, line: str, seconds: float) -> dict[str, Any]:
        """Say a line, and read the answer to it. Raises TimeoutError."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.hear(seconds))
        return answer

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@dataclass(frozen=True)
class _Scene:
    """A host of one kind, and one watcher that reads."""

    kind: str
    host: _Told
    address: str
    lone: Crowd

    def body(self) -> Body:
        return Body.of(self.host.process.pid)

    def gives_back(self, before: Body, seconds: float = PATIENCE) -> str:
        """Wait until its memory is as before, at most so long; say whether it is."""
        if wait_until(lambda: self.body().resident <= before.resident * _BACK, seconds):
            return "yes"
        return f"{self.body().resident - before.resident:.0f} MiB more"

    def p99(self, seconds: float) -> tuple[float, list[str]]:
        """Ask for Check so long; say how long it took, and what was missed."""
        names = ["liveness", ""] if self.kind == OURS else [""]
        with Onlooker(self.address, names, _PERIOD) as onlooker:
            time.sleep(seconds)
        return onlooker.p99, onlooker.missed


@contextlib.contextmanager
def _scene(kind: str, **settings: object) -> Iterator[_Scene]:
    host = _Told("host", kind, json.dumps(settings))
    try:
        address = json.loads(host.hear(PATIENCE))["address"]
        lone = Crowd(address, 1, source=_ONLOOKER, name=NAME, reading=True)
        assert lone.wait(1, PATIENCE).reached
        small = Crowd(address, _SMALL, reading=True)
        small.wait(1, PATIENCE)
        small.leave()
        yield _Scene(kind, host, address, lone)
        lone.leave()
    finally:
        host.end()


@contextlib.contextmanager
def _crowd(scene: _Scene, number: int, kind: str) -> Iterator[_Told]:
    crowd = _Told("crowd", scene.address, str(number), kind)
    try:
        crowd.hear(_CROWD_PATIENCE)
        # The stock servicer answers nobody else while one does not read.
        _wait(crowd, 0, _SUBSCRIBE if kind == "stalled" else _CROWD_PATIENCE)
        yield crowd
    finally:
        crowd.end()


def _wait(crowd: _Told, messages: int, seconds: float = _CROWD_PATIENCE, word: str = "") -> State:
    return State(**crowd.ask(f"{messages} {seconds} {word}", seconds + PATIENCE))


def _changes(scene: _Scene, number: int) -> tuple[list[float], list[float]]:
    """Change the name; say how many ms each `set` took, and each change to the lone watcher."""
    sets, seen = [], []
    for change in range(number):
        said = scene.host.ask(f"set {change % 2}", _BLOCKED)
        sets.append(said["took"] * 1e3)
        seen.append((scene.lone.wait(2 + change, PATIENCE).at - said["at"]) * 1e3)
    return sets, seen


def stalled(number: int, *, seconds: float, rounds: int, compared: bool) -> Iterator[Figure]:
    """Have so many watchers never read.

    Args:
        number: how many.
        seconds: how long Check is timed, with and without them.
        rounds: how often; times are judged with more than one alone, for machines are noisy. Those
            in which other machines got much of the processors' time are repeated a few times.
        compared: whether the reference has them too.
    """
    who = f"{number:,} watchers that never read"
    timed = rounds > 1
    stops, missed, evicted, kept = list[float](), 0, 0, ""
    sets, seen = list[float](), list[float]()
    ratios, calm = list[float](), list[float]()
    while len(ratios) < rounds or (timed and len(calm) < rounds and len(ratios) < _MOST * rounds):
        with _scene(OURS, watch_send_timeout=_SEND_TIMEOUT) as scene:
            stolen = Stolen()
            idle, _ = scene.p99(seconds)
            before = scene.body()
            with _crowd(scene, number, "stalled") as crowd:
                busy, away = scene.p99(seconds)
                is_calm = stolen.share() <= _CALM
                set_took, change_seen = _changes(scene, _CHANGES)
                sets, seen = sets + set_took, seen + change_seen
                time.sleep(_SEND_TIMEOUT)  # those who were told last have it as long
                evicted += _wait(crowd, 2, word="read").ended
            kept = scene.gives_back(before)
            with _crowd(scene, number, "stalled"):
                stops.append(scene.host.ask("stop", PATIENCE)["took"])
            ratios.append(busy / idle)
            calm += [busy / idle] * is_calm
            missed += len(away)
    reference = _stalled_reference(number, seconds) if compared else _UNCOMPARED
    ratio = statistics.median(calm if len(calm) >= rounds else ratios)
    late = statistics.quantiles(seen, n=20)[-1]
    yield Figure(f"{who}: Check missed", f"{missed}", reference["missed"], "0", met=not missed)
    yield Figure(
        "  Check p99, times idle", f"{ratio:.1f}", reference["ratio"], f"<= {_RATIO:g}",
        ratio <= _RATIO if timed else None,
    )  # fmt: skip
    yield Figure(
        "  a change reaches another, p95 (max)", f"{late:.1f} ms ({max(seen):.1f})",
        reference["seen"], "<= 10 ms", late <= 10 if timed else None,
    )  # fmt: skip
    yield Figure(
        "  set, longest", f"{max(sets):.1f} ms", reference["set"], "<= 100 ms",
        max(sets) <= 100 if timed else None,
    )  # fmt: skip
    yield Figure(
        "  graceful stop, longest", f"{max(stops):.2f} s", reference["stop"], "<= 1 s",
        max(stops) <= 1 if timed else None,
    )  # fmt: skip
    everyone = number * len(ratios)
    yield Figure("  evicted", f"{evicted:,}", "-", f"{everyone:,}", evicted == everyone)
    yield Figure("  memory back within 10 %", kept, reference["back"], "yes", kept == "yes")


def _stalled_reference(number: int, seconds: float) -> dict[str, str]:
    with _scene(REFERENCE) as scene:
        idle, _ = scene.p99(seconds)
        before = scene.body()
        said = {"set": f"> {_BLOCKED:g} s", "seen": "never", "stop": f"> {_BLOCKED:g} s"}
        with _crowd(scene, number, "stalled"):
            busy, missed = scene.p99(seconds)
            with contextlib.suppress(TimeoutError):
                set_took, seen = _changes(scene, 2)
                said |= {"set": f"{max(set_took):.1f} ms", "seen": f"{max(seen):.1f} ms"}
        said["back"] = scene.gives_back(before, _BLOCKED)
    with (
        _scene(REFERENCE) as scene,
        _crowd(scene, number, "stalled"),
        contextlib.suppress(TimeoutError),
    ):
        said["stop"] = f"{scene.host.ask('stop', _BLOCKED)['took']:.2f} s"
    return said | {"missed": f"{len(missed)}", "ratio": f"{busy / idle:.1f}"}


@dataclass(frozen=True)
class _Reach:
    reached: int
    ended: int
    slowest: float
    each: float


def readers(number: int, *, changes: int, compared: bool) -> Iterator[Figure]:
    """Have so many watchers read, and change what they watch."""
    ours, other = _reach(OURS, number, changes), None
    if compared:
        other = _reach(REFERENCE, number, changes)
    yield Figure(
        f"{number:,} watchers: told of every change, ended", f"{ours.reached:,}, {ours.ended}",
        f"{other.reached:,}, {other.ended}" if other else "-", f"{number:,}, 0",
        ours.reached == number and not ours.ended,
    )  # fmt: skip
    yield Figure(
        "  a change reaches all, median", f"{ours.slowest * 1e3:.0f} ms",
        f"{other.slowest * 1e3:.0f} ms" if other else "-", "<= reference",
        ours.slowest <= other.slowest if other else None,
    )  # fmt: skip
    yield Figure(
        "  memory of each", f"{ours.each / 1e3:.2f} kB",
        f"{other.each / 1e3:.1f} kB" if other else "-", f"<= {_BYTES / 1e3:g} kB",
        ours.each <= _BYTES,
    )  # fmt: skip


def _reach(kind: str, number: int, changes: int) -> _Reach:
    with _scene(kind) as scene:
        before = scene.body()
        with _crowd(scene, number, "reading") as crowd:
            state = _wait(crowd, 1)
            each = (scene.body().resident - before.resident) * 2**20 / number
            took = []
            for change in range(changes):
                said = scene.host.ask(f"set {change % 2}", PATIENCE)
                state = _wait(crowd, 2 + change, PATIENCE)
                took.append(state.at - said["at"])
    return _Reach(state.reached, state.ended, statistics.median(took), each)


def strangers(number: int, *, compared: bool) -> Iterator[Figure]:
    """Have so many watchers watch names that nobody knows, and leave."""
    told = {REFERENCE: ("-", "-", "-")}
    for kind in (OURS, REFERENCE) if compared else (OURS,):
        with _scene(kind) as scene:
            before = scene.body()
            with _crowd(scene, number, "strangers") as crowd:
                admitted, most = _wait(crowd, 1).reached, scene.body().resident
            back = scene.gives_back(before, PATIENCE if kind == OURS else _BLOCKED)
            told[kind] = (f"{admitted:,}", f"{most:.0f} MiB", back)
    ours, other = told[OURS], told[REFERENCE]
    yield Figure(f"{number:,} watches of unknown names: admitted", ours[0], other[0])
    yield Figure("  memory with them", ours[1], other[1])
    yield Figure("  memory back within 10 %", ours[2], other[2], "yes", ours[2] == "yes")

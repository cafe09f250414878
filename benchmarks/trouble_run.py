"""Brings one application into one trouble, and keeps what its prober saw meanwhile."""

import json
import os
import signal
import socket
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from latency import p99
from processes import Talker, descendants, free_port, talking
from report import BenchError, json_number

from tests.observers import TOLERANCE
from tests.steal import Meter, Slice, Stolen

__all__ = [
    "DEADLINE",
    "HOSTS",
    "Application",
    "Taken",
    "Trouble",
    "application",
    "take",
]

HOSTS: Final = ("reference", "thread", "process")
"""Who answers: the stock servicer on the application's own server, or a plane so isolated."""
DEADLINE: Final = 1000.0
"""Milliseconds that a probe waits for its answer."""
_PORT_PATIENCE: Final = 5.0
"""Seconds after which a port that has not been given back is given up."""

_BEFORE: Final = 0.5
"""Seconds that are probed before the trouble begins, and for which it lasts until it counts."""
_AFTER: Final = 0.5
"""Seconds that are probed after it."""
_CALM: Final = 0.01
"""The part of the processors' time that other machines may get where it is calm."""
_ENOUGH: Final = 150
"""Probes that have to have been sent while it was calm for a round to be one that tells of time."""
_PATIENCE: Final = 4
"""How many times as long as it has to be calm a trouble lasts at most."""
_POLL: Final = 0.001
_EARLY: Final = 0.15
"""Seconds by which health may turn before its time: the application beats every 0.1 s."""


@dataclass(frozen=True)
class Application:
    """An application that serves."""

    talker: Talker
    port: int
    """Where it is asked for its health."""
    work: str
    """The address where it serves its own calls."""
    started: float
    """When its health server began to start, and when that was SERVING first: monotonic seconds."""
    serving: float

    @property
    def pid(self) -> int:
        """Its process."""
        return self.talker.process.pid

    @property
    def pids(self) -> list[int]:
        """Its process, and those that it has started."""
        return [self.pid, *descendants(self.pid)]


@contextmanager
def application(
    host: str, server: str, *, call: float = 0.0, max_silence: float = 0.0
) -> Iterator[Application]:
    """Run an application inside of the block, from its first SERVING on.

    Args:
        host: where its health is answered.
        server: "sync" or "aio", of the application.
        call: seconds for which one of its calls blocks it.
        max_silence: seconds; 0 for one that does not beat.
    """
    port = free_port()
    arguments = [host, server, str(port), str(call), str(max_silence)]
    with talking(f"the application ({host})", ["trouble_app.py", *arguments]) as talker:
        started = float(talker.hear().split()[1])
        talker.wait_until_serving(port)
        serving = time.monotonic()
        work = talker.hear().split()[1]
        yield Application(talker, port, work, started, serving)


Span = tuple[float, float]
"""From when to when, in monotonic seconds."""
Befall = Callable[[Application, Talker, float, Meter], Span]


@dataclass(frozen=True)
class Trouble:
    """What befalls the application.

    Args:
        words: what it is called.
        server: "sync" or "aio".
        befall: brings it about for so many seconds, and says when it began and was over. Where it
            can last, it does until so many were calm.
        seconds: how long that is, and how long in a quick run.
        call: seconds for which a call blocks the application.
        callers: how many call it all the time.
        turns_after: seconds after which its health has to turn; None for one that has to stay.
        max_silence: seconds; 0 for an application that does not beat.
        dies: whether it ends the application.
        rounds: how often it befalls one with each host.
    """

    words: str
    server: str
    befall: "Befall"
    seconds: tuple[float, float]
    call: float = 0.0
    callers: int = 0
    turns_after: float | None = None
    max_silence: float = 0.0
    dies: bool = False
    rounds: int = 3


@dataclass(frozen=True)
class Taken:
    """What one prober saw of one trouble."""

    taken: Sequence[float]
    """Milliseconds of each probe that counts; of a missed one at least its deadline."""
    said: Sequence[str]
    """What each was told."""
    wrong: int
    """Probes that were told otherwise than it was."""
    lasted: float
    """Seconds until the trouble was over."""
    turned: dict[str, float | None]
    """Seconds until the watchers of a name were told; None where they were not."""
    late: float
    """Milliseconds that 99 of 100 probes were not sent late: how far to trust the prober."""
    refused: bool
    """Whether nobody answers any more."""
    calm: int
    """How many probes were sent while it was calm."""
    port_free: float | None = None
    """Seconds until the port of one that died could be bound again."""
    left: int = 0
    """Processes that are left of one that died."""
    stolen: float = 0.0
    """The part of the processors' time that went to other machines meanwhile."""

    @property
    def missed(self) -> int:
        """How many got no answer in time."""
        return sum(said not in ("SERVING", "NOT_SERVING") for said in self.said)

    @property
    def tells_time(self) -> bool:
        """Whether it was calm for long enough."""
        return self.calm >= _ENOUGH

    @property
    def p99(self) -> float:
        """What 99 of 100 did not exceed, in ms."""
        return p99(self.taken)

    def as_json(self) -> dict[str, object]:
        """Write it for a file."""
        return {
            "probes": len(self.said),
            "calm": self.calm,
            "missed": self.missed,
            "wrong": self.wrong,
            "lasted": json_number(self.lasted),
            "said": {said: self.said.count(said) for said in sorted(set(self.said))},
            "p50": json_number(statistics.median(self.taken)),
            "p99": json_number(self.p99),
            "max": json_number(max(self.taken)),
            "sent_late_p99": json_number(self.late),
            "turned": {name: _rounded(at) for name, at in self.turned.items()},
            "refused": self.refused,
            "port_free": _rounded(self.port_free),
            "processes_left": self.left,
            "stolen": round(self.stolen, 4),
        }


def take(trouble: Trouble, host: str, *, quick: bool) -> Taken:
    """Start an application and its prober, and bring the trouble about once."""
    beating = {"call": trouble.call, "max_silence": trouble.max_silence}
    with (
        application(host, trouble.server, **beating) as app,
        talking(
            "the prober",
            ["trouble_prober.py", f"127.0.0.1:{app.port}", app.work, str(trouble.callers)],
        ) as prober,
    ):
        if (ready := prober.hear()) != "ready":
            raise BenchError(f"the prober says: {ready}")
        pids = app.pids
        time.sleep(_BEFORE)
        since_now = Stolen()
        with Meter(_CALM) as meter:
            span = trouble.befall(app, prober, trouble.seconds[quick], meter)
        stolen = since_now.share()
        free = _wait_for_port(app.port, span[0]) if trouble.dies else None
        time.sleep(_AFTER)
        left = _end(pids) if trouble.dies else 0
        prober.say("end")
        calm = meter.calm(span[0])
        taken = _read(json.loads(prober.hear()), trouble, span, calm)
        return replace(taken, port_free=free, left=left, stolen=stolen)


def called(_: Application, prober: Talker, seconds: float, meter: Meter) -> Span:
    """Have the callers call."""
    prober.say("call")
    return _last(seconds, meter)


def busy(threads: int) -> Befall:
    """Have so many threads compute."""

    def befall(app: Application, _: Talker, seconds: float, meter: Meter) -> Span:
        app.talker.say(f"busy {threads}")
        app.talker.hear()
        span = _last(seconds, meter)
        app.talker.say("rest")
        return span

    return befall


def _last(seconds: float, meter: Meter) -> Span:
    """Let it last until so many seconds were calm."""
    time.sleep(_BEFORE)
    begun = now = time.monotonic()
    while now < begun + _PATIENCE * seconds:
        if sum(one.over - one.begun for one in meter.calm(begun)) >= seconds:
            break
        time.sleep(_BEFORE)
        now = time.monotonic()
    return begun, time.monotonic()


def hold(app: Application, _: Talker, seconds: float, __: Meter) -> Span:
    """Have it make one call that keeps the interpreter's lock."""
    app.talker.say(f"hold {seconds}")
    begun, over = (float(app.talker.hear().split()[1]) for _ in range(2))
    return begun, over


def freeze(app: Application, _: Talker, seconds: float, __: Meter) -> Span:
    """Stop its process, and let it go on."""
    begun = time.monotonic()
    os.kill(app.pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(app.pid, signal.SIGCONT)
    return begun, time.monotonic()


def kill(app: Application, _: Talker, seconds: float, __: Meter) -> Span:
    """Kill its process."""
    begun = time.monotonic()
    os.kill(app.pid, signal.SIGKILL)
    return begun, begun + seconds


def _wait_for_port(port: int, since: float) -> float | None:
    while (waited := time.monotonic() - since) < _PORT_PATIENCE:
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(_POLL)
        else:
            return waited
    return None


def _end(pids: Sequence[int]) -> int:
    """End the processes that still run; return how many there were."""
    left = [pid for pid in pids if _runs(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return len(left)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _read(seen: dict[str, Any], trouble: Trouble, span: Span, calm: Sequence[Slice]) -> Taken:
    begun, over = span
    probes = [
        (sent - begun, took, said) for sent, took, said in seen["probes"] if begun <= sent < over
    ]
    if not probes:
        raise BenchError(f"{trouble.words}: nothing was probed meanwhile")
    sent = sum(at < over for at, _, _ in seen["probes"])
    counted = [
        took for sent, took, _ in probes
        if any(one.begun <= begun + sent < one.over for one in calm)
    ]  # fmt: skip
    taken = counted if len(counted) >= _ENOUGH else [took for _, took, _ in probes]
    return Taken(
        taken=[took * 1e3 for took in taken],
        said=[said for _, _, said in probes],
        wrong=sum(_is_wrong(probe, trouble.turns_after, over - begun) for probe in probes),
        lasted=over - begun,
        turned={name: _turned(sights, begun) for name, sights in seen["sights"].items()},
        late=p99(seen["late"][:sent]) * 1e3,
        refused=seen["probes"][-1][2] == "UNAVAILABLE",
        calm=len(counted),
    )


def _is_wrong(probe: tuple[float, float, str], turns_after: float | None, over: float) -> bool:
    """Say whether a probe was told what was not so; one that was told nothing was not."""
    sent, took, said = probe
    if said == "SERVING":
        return turns_after is not None and turns_after + TOLERANCE < sent < over - took
    return said == "NOT_SERVING" and (turns_after is None or sent + took < turns_after - _EARLY)


def _turned(sights: Sequence[tuple[float, str]], begun: float) -> float | None:
    """Say after how many seconds a watcher was told."""
    return next((at - begun for at, said in sights if at >= begun and said == "NOT_SERVING"), None)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else json_number(seconds)

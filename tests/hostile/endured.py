"""Has each server endure each attack, and says what an onlooker saw and what the server kept."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from petsage_grpc.rpc.client import Connection, parse_address
from petsage_grpc.rpc.client.health_codec import CHECK, encode_request
from tests.hostile.attacks import attack
from tests.hostile.crowd import Crowd
from tests.hostile.onlooker import Onlooker
from tests.hostile.subjects import Body, Subject, wait_until
from tests.processes import clean_environment

__all__ = ["BOUND", "Endured", "endure", "shares_line", "warm_up"]

BOUND: Final = 512.0
"""MiB that the service may have in memory in the worst moment of a flood from one address."""
_SPARE_THREADS: Final = 4
"""Threads more that are no leak: grpc's pool keeps some, as many as there are cores and more."""
_PATIENCE: Final = 20.0
"""Seconds until what all attacks at once have asked for must be worked off."""
_GLANCE: Final = 0.1
_LONG_GLANCE: Final = 1.0
_DYING: Final = 20.0
_IN_LINE: Final = 800
"""Calls of the attacker that are sent before another's: those of one line are answered first."""
_WAITS: Final = 0.2
"""The part of the time of all these that another's call takes at least in the same line."""


@dataclass(frozen=True)
class Endured:
    """What became of one server in one attack."""

    attack: str
    count: int
    """How often the attack did what it does."""
    onlooker: Onlooker
    before: Body
    after: Body
    peak: float
    settled: float
    """Seconds until all was given back."""
    complaints: list[str]
    alive: bool

    @property
    def faults(self) -> list[str]:
        """Say what is not as it should be."""
        found = []
        if not self.alive:
            found.append("it crashed")
        if self.onlooker.missed:
            found.append(f"missed {len(self.onlooker.missed)}: {self.onlooker.missed[0]}")
        if self.peak > BOUND:
            found.append(f"more than {BOUND:g} MiB")
        if not self.after.idle:
            found.append(f"still at work {self.settled:.0f} s later")
        if self.after.descriptors > self.before.descriptors:
            found.append(f"keeps {self.after.descriptors - self.before.descriptors} descriptors")
        if self.after.threads > self.before.threads + _SPARE_THREADS:
            found.append(f"keeps {self.after.threads - self.before.threads} threads")
        if self.complaints:
            found.append(f"{len(self.complaints)} lines in the log: {self.complaints[0]}")
        return found


def _is_back(before: Body, after: Body) -> bool:
    return (
        after.idle
        and after.descriptors <= before.descriptors
        and after.threads <= before.threads + _SPARE_THREADS
    )


def shares_line(subject: Subject) -> bool:
    """Say whether the onlooker's address has the line of the attacker's: one in 16 has."""
    crowd = Crowd(subject.address, _IN_LINE, name="liveness", reading=True)
    address, begun = parse_address(subject.address), time.monotonic()

    def ask() -> float:
        with contextlib.closing(Connection.connect(address, _PATIENCE)) as it:
            it.call(CHECK, encode_request(""), _PATIENCE)
        return time.monotonic() - begun

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask)
        answered = crowd.wait(1, _PATIENCE).at - begun
        waited = asked.result()
    crowd.leave()
    wait_until(lambda: subject.body(watched=_LONG_GLANCE).idle, _PATIENCE)
    return waited > _WAITS * answered


def warm_up(subject: Subject, names: Sequence[str], seconds: float) -> None:
    """Attack a server in all ways at once, and wait until it has worked that off."""
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda name: attack(name, subject.address, seconds), names))
    wait_until(lambda: subject.body(watched=_LONG_GLANCE).idle, _PATIENCE)


def endure(subject: Subject, name: str, seconds: float, patience: float) -> Endured:
    """Attack a server for so many seconds, from another process, and wait until it recovers.

    Args:
        subject: the server.
        name: that of the attack.
        seconds: how long it takes.
        patience: seconds until what it took must be given back.
    """
    before, said = subject.body(), len(subject.lines)
    subject.forget_peak()
    command = [sys.executable, "-m", "tests.hostile.attacks", name, subject.address, str(seconds)]
    with Onlooker(subject.address, subject.names) as onlooker:
        attacker = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds + _DYING,
            env=clean_environment(), check=False,
        )  # fmt: skip
    assert not attacker.returncode, attacker.stderr
    ended, after = time.monotonic(), before
    with contextlib.suppress(OSError):  # it may end meanwhile
        while subject.alive:
            after = subject.body(watched=_GLANCE)
            if _is_back(before, after) or time.monotonic() - ended > patience:
                break
    settled = time.monotonic() - ended
    return Endured(
        name, int(attacker.stdout), onlooker, before, after, after.peak, settled,
        subject.complaints(said), subject.alive,
    )  # fmt: skip

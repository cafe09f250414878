"""What 10,000 callers who all want fresh results do to the dependencies, and to everybody else."""

import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Final

from counted import CHECKS, RUNS
from latency import p99, time_checks
from processes import HERE, Server, checking
from report import BenchError, Row, Target, main

__all__ = ["rows"]

_CALLS: Final = 10_000
_INTERVAL: Final = 10.0
"""Seconds of the default interval, in which they all come."""
_REFRESH_INTERVAL: Final = 1.0
_ROUNDS: Final = 5
_PATIENCE: Final = 30.0


def rows(*, quick: bool) -> list[Row]:
    """Count the runs, and compare a Check meanwhile with one of an idle service."""
    rounds, share = (1, 0.1) if quick else (_ROUNDS, 1.0)
    seconds, calls = share * _INTERVAL, int(share * _CALLS)
    idle, busy, slots, runs = [], [], [], []
    with checking(_settings(), modules=str(HERE)) as server:
        for _ in range(rounds):
            idle.append(p99(time_checks(server.address, seconds)))
            taken, most, possible = _storm(server, calls, seconds)
            busy.append(p99(taken))
            runs.append(float(most))
            slots.append(float(possible))
    figure = f"{calls} SmokeTests with max_age = 0"
    at_most_one = Target(at_most=1.0)
    return [
        Row(f"{figure}: runs of a check", "runs", "refresh slots", slots, runs, at_most_one),
        Row(f"{figure}: Check p99", "ms", "idle", idle, busy, Target(at_most=2.0)),
    ]


def _settings() -> str:
    lines = [f"refresh_interval = {_REFRESH_INTERVAL:g}"]
    for number in range(CHECKS):
        lines += [f"[checks.c{number}]", 'kind = "python"', f'function = "counted:run_{number}"']
    return "\n".join(lines) + "\n"


def _storm(server: Server, calls: int, seconds: float) -> tuple[list[float], int, int]:
    """Have them all call.

    Return how long each Check took meanwhile, how often the check that was run most was run, and
    how often it might have been.
    """
    script = str(HERE / "storm_client.py")
    command = [sys.executable, script, server.address, str(calls), str(seconds)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as client:
        watchdog = threading.Timer(seconds + _PATIENCE, client.kill)
        watchdog.start()
        try:
            assert client.stdin is not None
            assert client.stdout is not None
            client.stdout.readline()
            client.stdin.write("begin\n")
            client.stdin.flush()
            taken = time_checks(server.address, seconds)
            told, _ = client.communicate()
        finally:
            watchdog.cancel()
            client.kill()
    if client.returncode:
        raise BenchError(f"the callers ended with {client.returncode}")
    begun, ended, answered = map(float, told.split())
    if answered != calls:
        raise BenchError(f"{answered:g} of {calls} calls were answered")
    text = Path(f"/proc/{server.pid}/cwd/{RUNS}").read_text()
    runs = [line.split() for line in text.splitlines()]
    counts = Counter(number for number, at in runs if begun <= float(at) <= ended)
    if len(counts) != CHECKS:
        raise BenchError(f"only {len(counts)} of {CHECKS} checks were run")
    return taken, max(counts.values()), int((ended - begun) / _REFRESH_INTERVAL) + 1


if __name__ == "__main__":
    main({"refresh storm": rows})

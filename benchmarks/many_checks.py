"""What 1,000 checks cost a service beside 2: no more than the work that they do."""

import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from load import check_rate
from processes import HERE, Server, alternate, checking
from report import Row, Target, main

__all__ = ["rows"]

_FEW, _MANY = 2, 1000
_INTERVAL: Final = 10.0
"""Seconds, the default: that of all these checks."""
_LIMIT: Final = 16.0
"""Kibibytes that a check may take."""


def rows(*, quick: bool) -> list[Row]:
    """Compare two services of ours, which run at the same time: idle, and loaded by turns."""
    rounds, seconds, idle = (1, 0.3, 1.0) if quick else (15, 1.5, _INTERVAL)
    with ExitStack() as stack:
        few, many = (
            stack.enter_context(checking(_settings(number), modules=str(HERE)))
            for number in (_FEW, _MANY)
        )
        time.sleep(1.2 * idle)  # the first runs come faster, until each check has its own time
        cpu_few, cpu_many = _idle_cpu(few, many, seconds=idle)
        memory_few, memory_many = few.memory().resident, many.memory().resident
        takes = {
            "few": partial(check_rate, few, seconds),
            "many": partial(check_rate, many, seconds),
        }
        rates = alternate(takes, rounds)
        for server in (few, many):
            server.prove_serving()
    against, figure = f"{_FEW} checks", f"{_MANY} checks"
    no_slower, a_check = Target(at_least=0.95), (memory_many - memory_few) * 1024 / (_MANY - _FEW)
    return [
        Row(
            f"{figure}: Check throughput",
            "calls/s",
            against,
            rates["few"],
            rates["many"],
            no_slower,
        ),
        Row(f"{figure}: idle CPU", "% of one", against, [cpu_few], [cpu_many]),
        Row(f"{figure}: memory (RSS)", "MiB", against, [memory_few], [memory_many]),
        Row("memory (RSS) per check", "KiB", "our limit", [_LIMIT], [a_check], Target(at_most=1.0)),
    ]


def _settings(number: int) -> str:
    check = 'kind = "python"\nfunction = "counted:nothing"'
    return "\n".join(f"[checks.c{n}]\n{check}\ninterval = {_INTERVAL:g}" for n in range(number))


def _idle_cpu(*servers: Server, seconds: float) -> list[float]:
    """Say what share of a processor each takes while nobody asks, in percent."""
    before = [_busy(server) for server in servers]
    time.sleep(seconds)
    return [
        (_busy(server) - busy) / seconds * 100 for server, busy in zip(servers, before, strict=True)
    ]


def _busy(server: Server) -> float:
    """Say for how many seconds its threads have run; the ticks of `cpu_seconds` are too coarse."""
    threads = Path(f"/proc/{server.pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


if __name__ == "__main__":
    main({"many checks": rows})

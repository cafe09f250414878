"""Starts and stops a plane many times over, and counts what is left of it: that must be nothing.

Usage: `python tools/cycles.py thread 1000`.
"""

import argparse
import gc
import logging
import os
import resource
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from petsage_grpc import HealthPlane
from petsage_grpc.plane.health_plane import Isolation

_WARM_UP = 20
"""Cycles before the first count: what is made once is no leak."""
_MEMORY_PER_CYCLE = 2.0
"""KiB a cycle that the memory may still grow by in the second half: the allocator's."""
_ENOUGH = 500
"""Cycles from which on the growth of the memory says something."""
_SETTLE = 5.0
"""Seconds in which threads of grpc's core end by themselves."""


@dataclass(frozen=True)
class Count:
    """What this process holds at one moment."""

    threads: int
    """As the system counts them, those of grpc's core too."""
    descriptors: int
    children: int
    memory: int
    """Resident, in KiB."""

    @classmethod
    def now(cls) -> Self:
        """Count."""
        gc.collect()
        return cls(_entries("/proc/self/task"), _entries("/proc/self/fd"), _children(), _memory())

    def holds_more_than(self, before: Self) -> bool:
        """Say whether something has been added, memory apart."""
        mine = (self.threads, self.descriptors, self.children)
        return any(
            now > then
            for now, then in zip(
                mine, (before.threads, before.descriptors, before.children), strict=True
            )
        )


def _entries(folder: str) -> int:
    return sum(1 for _ in Path(folder).iterdir())


def _children() -> int:
    """Count the child processes, those that nobody has waited for too."""
    found = 0
    for task in Path("/proc/self/task").iterdir():
        try:
            found += len((task / "children").read_text().split())
        except OSError:  # it has ended meanwhile
            continue
    return found


def _memory() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024


def settled(before: Count | None = None) -> Count:
    """Count once it holds no more than before, or else what it holds after a while."""
    until, count = time.monotonic() + _SETTLE, Count.now()
    while before is not None and count.holds_more_than(before) and time.monotonic() < until:
        time.sleep(0.05)
        count = Count.now()
    return count


def cycle(plane: HealthPlane) -> None:
    """Live one life, with something of each kind in it."""
    with plane:
        plane.set("mine", serving=True, ttl=60)
        plane.heartbeat(f"worker-{len(plane.checks)}", gates=[])()
        assert plane.address


def run(isolation: Isolation, cycles: int, each: int = 10) -> Iterator[Count]:
    """Count before, amid and after so many cycles; a plane lives `each` of them."""
    for _ in range(min(_WARM_UP, cycles)):
        cycle(HealthPlane.from_settings(isolation=isolation, listen="127.0.0.1:0"))
    before = settled()
    yield before
    for part in (cycles // 2, cycles - cycles // 2):
        for number in range(part):
            if number % each == 0:
                plane = HealthPlane.from_settings(isolation=isolation, listen="127.0.0.1:0")
            cycle(plane)
        del plane
        yield settled(before)


def main() -> int:
    """Run the cycles and print the verdict; 1 when something is left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("isolation", choices=["thread", "process"])
    parser.add_argument("cycles", type=int, nargs="?", default=1_000)
    arguments = parser.parse_args()
    logging.basicConfig(filename=os.devnull, level="INFO")
    begun = time.monotonic()
    before, middle, after = run(arguments.isolation, arguments.cycles)
    took = time.monotonic() - begun
    for name in ("threads", "descriptors", "children", "memory"):
        unit = " KiB" if name == "memory" else ""
        counted = (f"{getattr(count, name):>8}" for count in (before, middle, after))
        print(f"{name:12} {' -> '.join(counted)}{unit}")
    print(f"{arguments.cycles} cycles of isolation {arguments.isolation!r} in {took:.1f} s")
    grown = 2 * (after.memory - middle.memory) / max(1, arguments.cycles)
    if after.holds_more_than(before):
        names = sorted(thread.name for thread in threading.enumerate())
        print(f"LEAK: something is left; threads of Python: {', '.join(names)}")
        return 1
    if grown > _MEMORY_PER_CYCLE and arguments.cycles >= _ENOUGH:
        print(f"LEAK: {grown:.1f} KiB a cycle, more than {_MEMORY_PER_CYCLE:g}")
        return 1
    print("nothing is left")
    return 0


if __name__ == "__main__":
    sys.exit(main())

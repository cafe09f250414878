"""Has the service endure hostile clients, crowds and faults beside the reference; prints a table.

`make soak` and `make soak-quick` run it. It ends with 0 when all verdicts are right.
"""

import argparse
import contextlib
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.hostile import figures
from tests.hostile.attacks import ATTACKS
from tests.hostile.conformance import conform
from tests.hostile.endured import Endured, endure, shares_line, warm_up
from tests.hostile.figures import Figure
from tests.hostile.mixed import mixed
from tests.hostile.onlooker import Onlooker
from tests.hostile.renewal import renewal
from tests.hostile.subjects import Subject, reference, service, wait_until
from tests.processes import PATIENCE

_PARTS: Final = ("renewal", "floods", "watchers", "conformance", "mixed")
_ANSWERS: Final = 10
"""How often it is asked whether it still answers."""


_WORKED_OFF: Final = 60.0
"""Seconds until what a flood has asked for must be gone; grpc's idle threads leave after 20."""


@dataclass(frozen=True)
class Extent:
    """How much of it there is."""

    flood: float
    """Seconds of each attack."""
    warm_up: float
    """Seconds of all attacks at once, before what a server has is counted."""
    rounds: int
    timed: float
    """Seconds for which Check is timed beside watchers."""
    readers: int
    strangers: int
    renewal: float
    """Seconds of calls while certificates are renewed."""
    mixed: float
    """Seconds of mixed load and faults."""
    restarts: int
    compared: bool = True
    """Whether the reference endures it as well."""


QUICK: Final = Extent(0.3, 0.5, 1, 0.5, 1_000, 5_000, 3.0, 10.0, 2, compared=False)
WHOLE: Final = Extent(3.0, 3.0, 3, 3.0, 10_000, 100_000, 20.0, 120.0, 20)
FULL: Final = Extent(60.0, 10.0, 5, 10.0, 10_000, 100_000, 60.0, 600.0, 20)


class Table:
    """Lines of cells, written as they come; counts those that are not right."""

    def __init__(self, *columns: tuple[str, int]) -> None:
        self.wrong = 0
        self._widths = [width for _, width in columns]
        self.write(*(title for title, _ in columns))

    def write(self, *cells: str) -> None:
        padded = [f"{cell:<{width}}" for cell, width in zip(cells, self._widths, strict=True)]
        print("  ".join(padded).rstrip(), flush=True)

    def judge(self, right: "bool | None", *cells: str, why: str = "") -> None:
        """Write a line with its verdict."""
        self.wrong += right is False
        self.write(*cells, {True: "right", False: f"WRONG {why}".rstrip(), None: "told"}[right])


def _floods(extent: Extent, folder: Path, names: list[str]) -> int:
    table = Table(
        ("ATTACK FROM ONE ADDRESS", 23), ("TIMES", 8), ("CHECKS", 6), ("MISSED", 6), ("P99 ms", 7),
        ("MiB before", 10), ("most", 5), ("after", 5), ("FDS", 7), ("THREADS", 7),
        ("| REFERENCE", 11), ("P99 ms", 7), ("MiB before", 10), ("most", 5), ("after", 5),
        ("VERDICT", 7),
    )  # fmt: skip
    with _with_own_line(folder) as ours:
        warm_up(ours, names, extent.warm_up)  # what is made once is no leak
        first = ours.body()
        for name in names:
            hurt = endure(ours, name, extent.flood, patience=_WORKED_OFF)
            table.judge(not hurt.faults, *_cells(hurt), *_other(extent, name),
                        why="; ".join(hurt.faults))  # fmt: skip
            if not ours.alive:
                break
        last = ours.body()
        print(
            f"all of them: {first.resident:.0f} MiB before the first, {last.resident:.0f} after the"
            f" last; descriptors {first.descriptors} and {last.descriptors}, threads"
            f" {first.threads} and {last.threads}"
        )
    return table.wrong


@contextlib.contextmanager
def _with_own_line(folder: Path) -> Iterator[Subject]:
    """Run the service so that the attacker's calls are not in the onlooker's line by chance."""
    while True:
        with service(folder, "watch_send_timeout = 1") as ours:
            if not shares_line(ours):
                yield ours
                return
        print("the onlooker's address shares the line of the attacker's: the service starts again")


def _cells(hurt: Endured) -> list[str]:
    seen, before, after = hurt.onlooker, hurt.before, hurt.after
    return [
        hurt.attack, f"{hurt.count}", f"{seen.asked}", f"{len(seen.missed)}", f"{seen.p99:.0f}",
        f"{before.resident:.0f}", f"{hurt.peak:.0f}", f"{after.resident:.0f}",
        f"{before.descriptors}>{after.descriptors}", f"{before.threads}>{after.threads}",
    ]  # fmt: skip


def _other(extent: Extent, name: str) -> list[str]:
    if not extent.compared:
        return ["| -", "", "", "", ""]
    with reference() as other:  # each time another: some attacks end it
        hurt = endure(other, name, extent.flood, patience=min(3.0, 4 * extent.flood))
    if not hurt.alive:
        return ["| crashed", "", "", "", ""]
    missed = f"| {len(hurt.onlooker.missed)} of {hurt.onlooker.asked}"
    before, after = hurt.before.resident, hurt.after.resident
    return [
        missed, f"{hurt.onlooker.p99:.0f}", f"{before:.0f}", f"{hurt.peak:.0f}", f"{after:.0f}"
    ]  # fmt: skip


def _write_figures(parts: "list[Callable[[], Iterator[Figure]]]") -> int:
    table = Table(
        ("FIGURE", 48), ("SERVICE", 20), ("REFERENCE", 20), ("TARGET", 12), ("VERDICT", 7)
    )
    for part in parts:
        for figure in part():
            table.judge(figure.met, figure.name, figure.ours, figure.reference, figure.target)
    return table.wrong


def _watchers(extent: Extent) -> int:
    timed, rounds, compared = extent.timed, extent.rounds, extent.compared
    return _write_figures([
        lambda: figures.stalled(50, seconds=timed, rounds=rounds, compared=compared),
        lambda: figures.stalled(1000, seconds=timed, rounds=rounds, compared=compared),
        lambda: figures.readers(extent.readers, changes=2 * rounds + 1, compared=compared),
        lambda: figures.strangers(extent.strangers, compared=compared),
    ])  # fmt: skip


def _conformance(extent: Extent, folder: Path) -> int:
    def run() -> Iterator[Figure]:
        with service(folder) as ours, reference() as other:
            with ThreadPoolExecutor() as pool:  # most of it is waiting for what is not answered
                ours_pass, other_pass = pool.map(conform, (ours, other))
            with Onlooker(ours.address, ours.names) as onlooker:
                heard = wait_until(lambda: onlooker.asked >= _ANSWERS, PATIENCE)
            bad = [*onlooker.missed, *ours.complaints()]
            yield Figure("h2spec", ours_pass, other_pass)
            yield Figure(
                "  it answers after that, and logs no error", f"{bad[:1] or 'yes'}", "-", "yes",
                heard and not bad,
            )  # fmt: skip

    return _write_figures([run])


def main() -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about a minute instead of ten")
    parser.add_argument("--full", action="store_true", help="each flood for 60 s: over an hour")
    parser.add_argument("--only", choices=_PARTS, action="append", help="this part alone")
    parser.add_argument("attacks", nargs="*", help=f"these floods alone: {', '.join(ATTACKS)}")
    arguments = parser.parse_args()
    for name in arguments.attacks:
        if name not in ATTACKS:
            parser.error(f"there is no attack {name!r}")
    extent = QUICK if arguments.quick else FULL if arguments.full else WHOLE
    slow = {"conformance", "renewal"} if arguments.quick else set()
    parts = arguments.only or [part for part in _PARTS if part not in slow]
    parts = ["floods"] if arguments.attacks else parts
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # for the servers as well
    begun, wrong = time.monotonic(), 0
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        if "renewal" in parts:  # the first: it has a rate to reach, and floods tire a machine
            wrong += _write_figures([lambda: renewal(folder, extent.renewal)])
        if "floods" in parts:
            wrong += _floods(extent, folder, arguments.attacks or list(ATTACKS))
        if "watchers" in parts:
            wrong += _watchers(extent)
        if "conformance" in parts:
            wrong += _conformance(extent, folder)
        if "mixed" in parts:
            wrong += _write_figures(
                [lambda: mixed(folder, extent.mixed, extent.restarts, timed=extent.rounds > 1)]
            )
    print(f"\n{wrong} wrong, after {time.monotonic() - begun:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

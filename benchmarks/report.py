"""Turns samples into rows, rows into tables, and the tables into an exit code and a file."""

import abc
import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import re
import shlex
import signal
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, NoReturn, Protocol

from tests.steal import Stolen

__all__ = ["BenchError", "Figure", "Line", "Row", "Target", "json_number", "main"]

_TIME_LIMIT: Final = 2400  # seconds, for a whole run
_PACKAGES: Final = ("petsage-grpc", "grpcio", "grpcio-health-checking", "protobuf", "h2")


class BenchError(Exception):
    """A figure can not be taken; the message says why, and the mend."""


@dataclass(frozen=True)
class Target:
    """Where a ratio has to lie, and where it would be welcome."""

    at_least: float = float("-inf")
    at_most: float = float("inf")
    hoped: float | None = None
    """A ratio at most as high as this one is better than what is asked."""

    def met(self, ratio: float) -> bool:
        """Say whether a ratio lies there."""
        return self.at_least <= ratio <= self.at_most

    def __str__(self) -> str:
        if self.at_most == float("inf"):
            return f">= {self.at_least:.2f}"
        return f"<= {self.at_most:.2f}"


class Line(abc.ABC):
    """One line of a table; all of one class are in one table."""

    header: ClassVar[tuple[str, ...]]
    """What stands above the cells."""

    @property
    @abc.abstractmethod
    def met(self) -> bool:
        """Whether it is as it should be."""

    @abc.abstractmethod
    def cells(self) -> tuple[str, ...]:
        """Write the line for the table."""

    @abc.abstractmethod
    def readme_cells(self) -> tuple[str, ...]:
        """Write the line for the README, whose table begins with the same header."""

    @abc.abstractmethod
    def as_json(self) -> dict[str, object]:
        """Write the line for a file, with every sample."""


@dataclass(frozen=True)
class Row(Line):
    """One figure: our samples beside those of a reference, taken by turns."""

    header = (
        "figure", "unit", "against", "reference", "ours", "ratio", "by round", "target", "verdict"
    )  # fmt: skip

    figure: str
    unit: str
    against: str
    reference: Sequence[float]
    ours: Sequence[float]
    target: Target | None = None
    """None when the figure is told for comparison alone."""

    @property
    def ratio(self) -> float:
        """Our median by the reference's."""
        return statistics.median(self.ours) / statistics.median(self.reference)

    @property
    def ratios(self) -> list[float]:
        """The ratio in each round, from the lowest to the highest: how far to trust the ratio."""
        pairs = zip(self.ours, self.reference, strict=True)
        return sorted(ours / reference for ours, reference in pairs)

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        return self.target is None or self.target.met(self.ratio)

    @property
    def verdict(self) -> str:
        """Say in words whether the target is met."""
        if self.target is None:
            return "-"
        if not self.met:
            return "NOT met"
        if self.target.hoped is None:
            return "met"
        return f"met, {'also' if self.ratio <= self.target.hoped else 'not'} {self.target.hoped}"

    def cells(self) -> tuple[str, ...]:
        """Write the row for the table."""
        return (
            self.figure, self.unit, self.against,
            _number(statistics.median(self.reference)), _number(statistics.median(self.ours)),
            f"{self.ratio:.2f}", self._spread(),
            "-" if self.target is None else str(self.target), self.verdict,
        )  # fmt: skip

    def readme_cells(self) -> tuple[str, ...]:
        """Write the figures as they stand in the file, but shorter."""
        reference, ours = (
            json_number(statistics.median(samples)) for samples in (self.reference, self.ours)
        )
        target = "-" if self.target is None else str(self.target)
        figures = f"{reference:.4g}", f"{ours:.4g}", f"{round(self.ratio, 3):.2f}"
        return self.figure, self.unit, self.against, *figures, target

    def _spread(self) -> str:
        return "-" if len(self.ratios) == 1 else f"{self.ratios[0]:.2f}..{self.ratios[-1]:.2f}"

    def as_json(self) -> dict[str, object]:
        """Write the row for a file, with every sample."""
        return {
            "figure": self.figure,
            "unit": self.unit,
            "against": self.against,
            "reference": json_number(statistics.median(self.reference)),
            "ours": json_number(statistics.median(self.ours)),
            "ratio": round(self.ratio, 3),
            "ratio_by_round": [round(self.ratios[0], 3), round(self.ratios[-1], 3)],
            "target": None if self.target is None else str(self.target),
            "verdict": self.verdict,
            "reference_samples": [json_number(sample) for sample in self.reference],
            "our_samples": [json_number(sample) for sample in self.ours],
        }


class Figure(Protocol):
    """Takes the rows of one figure."""

    def __call__(self, *, quick: bool) -> "Sequence[Line]":
        """Take them, briefly if told so. Raises BenchError when they can not be had."""


def main(figures: Mapping[str, Figure], results: Path | None = None) -> NoReturn:
    """Take figures, print their tables and exit: 0 if all is met, 1 if not, or if one is missing.

    A whole run is written to the file `results` as well.
    """
    arguments = _arguments(results)
    _die_tidily()
    load_before, since_now = os.getloadavg()[0], Stolen()
    rows, failed = _take(figures, quick=arguments.quick)
    stolen = since_now.share()
    for same in _by_table(rows):
        sys.stdout.write(_table([same[0].header, *(row.cells() for row in same)]))
    for reason, names in failed.items():
        sys.stdout.write(f"not taken: {', '.join(names)}: {reason}\n")
    sys.stdout.write(f"{stolen:.1%} of the processors' time went to other machines on this one\n")
    if arguments.quick:
        sys.stdout.write("a quick run: it shows that the benchmark works, the figures are noise\n")
        sys.exit(1 if failed else 0)
    if results is not None and not failed:
        results.write_text(json.dumps(_document(rows, load_before, stolen), indent=2) + "\n")
        for same in _by_table(rows):
            _update_readme(results.parent.parent / "README.md", same)
    sys.exit(0 if all(row.met for row in rows) and not failed else 1)


def _arguments(results: Path | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Take figures against a reference in the same run.",
        epilog="exit codes: 0 every target is met, 1 one is not, or could not be measured",
    )
    file = "" if results is None else f" and leaves {results.name} alone"
    quick_help = f"a short run that only shows that all works: exits 0 whatever the figures{file}"
    parser.add_argument("--quick", action="store_true", help=quick_help)
    return parser.parse_args()


def _by_table(rows: Iterable[Line]) -> list[list[Line]]:
    tables: dict[type[Line], list[Line]] = {}
    for row in rows:
        tables.setdefault(type(row), []).append(row)
    return list(tables.values())


def _take(figures: Mapping[str, Figure], *, quick: bool) -> tuple[list[Line], dict[str, list[str]]]:
    """Return the rows, and the names of what could not be taken by the reason why."""
    rows: list[Line] = []
    failed: dict[str, list[str]] = {}
    for name, figure in figures.items():
        sys.stderr.write(f"taking {name}\n")
        try:
            rows += figure(quick=quick)
        except BenchError as error:
            failed.setdefault(str(error), []).append(name)
    return rows, failed


def _update_readme(readme: Path, rows: Sequence[Line]) -> None:
    """Put the figures into the README's table of them."""
    lines = (f"| {' | '.join(row.readme_cells())} |\n" for row in rows)
    text, first = readme.read_text(), rows[0].header[0]
    head = re.search(rf"\| {first} \|.*\n\|[-|]+\n", text)
    if head is None:
        raise BenchError(f"{readme.name} has no table that begins with | {first} |")
    rest = re.sub(r"\A(\|.*\n)*", "", text[head.end() :])
    readme.write_text(text[: head.end()] + "".join(lines) + rest)


def _die_tidily() -> None:
    """Leave by way of an exception, whoever ends us, so that no child is left behind."""

    def leave(number: int, _: object) -> NoReturn:
        if number == signal.SIGALRM:
            sys.exit(f"benchmarks: not done after {_TIME_LIMIT} s: is the machine busy?")
        sys.exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, leave)
    signal.alarm(_TIME_LIMIT)


def _document(rows: Iterable[Line], load_before: float, stolen: float) -> dict[str, object]:
    now = datetime.datetime.now(datetime.UTC)
    return {
        "taken": now.isoformat(timespec="seconds"),
        "command": shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "machine": {
            "cpus": len(os.sched_getaffinity(0)),
            "cpu": _cpu_model(),
            "load_before": round(load_before, 2),
            "stolen": round(stolen, 4),
            "system": platform.platform(),
            "python": platform.python_version(),
            "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        },
        "rows": [row.as_json() for row in rows],
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()


def _table(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    rows = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
    return "\n".join(rows) + "\n"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}"  # noqa: PLR2004 -- enough digits


def json_number(value: float) -> float:
    """Round to what a file need have."""
    return round(value, 3)

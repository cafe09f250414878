"""Turns samples into rows, rows into one table, and the table into an exit code and a file."""

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
from typing import Final, NoReturn, Protocol

__all__ = ["BenchError", "Figure", "Row", "Target", "main"]

_TIME_LIMIT: Final = 240  # seconds, for a whole run
_PACKAGES: Final = ("petsage-grpc", "grpcio", "grpcio-health-checking", "protobuf", "h2")
_HEADER: Final = (
    "figure", "unit", "against", "reference", "ours", "ratio", "by round", "target", "verdict"
)  # fmt: skip


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


@dataclass(frozen=True)
class Row:
    """One figure: our samples beside those of a reference, taken by turns."""

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
    def verdict(self) -> str:
        """Say in words whether the target is met."""
        if self.target is None:
            return "-"
        if not self.target.met(self.ratio):
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

    def _spread(self) -> str:
        return "-" if len(self.ratios) == 1 else f"{self.ratios[0]:.2f}..{self.ratios[-1]:.2f}"

    def as_json(self) -> dict[str, object]:
        """Write the row for a file, with every sample."""
        return {
            "figure": self.figure,
            "unit": self.unit,
            "against": self.against,
            "reference": _json_number(statistics.median(self.reference)),
            "ours": _json_number(statistics.median(self.ours)),
            "ratio": round(self.ratio, 3),
            "ratio_by_round": [round(self.ratios[0], 3), round(self.ratios[-1], 3)],
            "target": None if self.target is None else str(self.target),
            "verdict": self.verdict,
            "reference_samples": [_json_number(sample) for sample in self.reference],
            "our_samples": [_json_number(sample) for sample in self.ours],
        }


class Figure(Protocol):
    """Takes the rows of one figure."""

    def __call__(self, *, quick: bool) -> list[Row]:
        """Take them, briefly if told so. Raises BenchError when they can not be had."""


def main(figures: Mapping[str, Figure], results: Path | None = None) -> NoReturn:
    """Take figures, print their table and exit: 0 if all is met, 1 if not, or if one is missing.

    A whole run is written to the file `results` as well.
    """
    arguments = _arguments(results)
    _die_tidily()
    load_before = os.getloadavg()[0]
    rows, failed = _take(figures, quick=arguments.quick)
    sys.stdout.write(_table([_HEADER, *(row.cells() for row in rows)]))
    for reason, names in failed.items():
        sys.stdout.write(f"not taken: {', '.join(names)}: {reason}\n")
    if arguments.quick:
        sys.stdout.write("a quick run: it shows that the benchmark works, the figures are noise\n")
        sys.exit(1 if failed else 0)
    if results is not None and not failed:
        results.write_text(json.dumps(_document(rows, load_before), indent=2) + "\n")
        _update_readme(results.parent.parent / "README.md", rows)
    met = all(row.target is None or row.target.met(row.ratio) for row in rows)
    sys.exit(0 if met and not failed else 1)


def _arguments(results: Path | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Take figures against a reference in the same run.",
        epilog="exit codes: 0 every target is met, 1 one is not, or could not be measured",
    )
    file = "" if results is None else f" and leaves {results.name} alone"
    quick_help = f"a short run that only shows that all works: exits 0 whatever the figures{file}"
    parser.add_argument("--quick", action="store_true", help=quick_help)
    return parser.parse_args()


def _take(figures: Mapping[str, Figure], *, quick: bool) -> tuple[list[Row], dict[str, list[str]]]:
    """Return the rows, and the names of what could not be taken by the reason why."""
    rows: list[Row] = []
    failed: dict[str, list[str]] = {}
    for name, figure in figures.items():
        sys.stderr.write(f"taking {name}\n")
        try:
            rows += figure(quick=quick)
        except BenchError as error:
            failed.setdefault(str(error), []).append(name)
    return rows, failed


def _update_readme(readme: Path, rows: Iterable[Row]) -> None:
    """Put the figures, as they stand in the results, into the README's table of them."""
    figures = [row.as_json() for row in rows]
    lines = (
        f"| {row['figure']} | {row['unit']} | {row['against']} | {row['reference']:.4g}"
        f" | {row['ours']:.4g} | {row['ratio']:.2f} | {row['target'] or '-'} |\n"
        for row in figures
    )
    text = readme.read_text()
    head = re.search(r"\| figure \|.*\n\|[-|]+\n", text)
    if head is None:
        raise BenchError(f"{readme.name} has no table of figures")
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


def _document(rows: Iterable[Row], load_before: float) -> dict[str, object]:
    now = datetime.datetime.now(datetime.UTC)
    return {
        "taken": now.isoformat(timespec="seconds"),
        "command": shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "machine": {
            "cpus": len(os.sched_getaffinity(0)),
            "cpu": _cpu_model(),
            "load_before": round(load_before, 2),
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


def _json_number(value: float) -> float:
    return round(value, 3)

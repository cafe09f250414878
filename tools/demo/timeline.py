"""Writes what happened and what each onlooker saw of it, line by line, and judges each line."""

import sys
import time
from typing import Final

from tests.observers import Sight

__all__ = ["Timeline", "say"]

_LONGEST: Final = 66
"""Characters that are shown of what somebody saw."""


def say(text: str) -> None:
    """Write a line at once, for people to follow."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Timeline:
    """The lines, and how many of them are not as they should be."""

    def __init__(self) -> None:
        self.bad = 0
        self._lines = 0
        self._began = time.monotonic()
        self._write("TIME", "EVENT, AND WHO SAW IT", "WHAT THEY SAW", "TOOK", "BOUND", "VERDICT")

    def event(self, words: str, at: float) -> None:
        """Write that something was done."""
        say(f"\n{self._time(at)}  {words}")

    def saw(
        self, who: str, sight: Sight | None, *, since: float, bound: float, right: bool
    ) -> None:
        """Write what somebody saw: it is wrong, too late or in time, or nothing at all."""
        if sight is None:
            at, words, took, verdict = time.monotonic(), "nothing", "-", "NOT SEEN"
        else:
            at, words = sight.at, sight.words.partition("\n")[0]
            took = f"{max(0.0, at - since):.2f}s"
            verdict = "in time" if at - since <= bound else "TOO LATE"
            verdict = verdict if right else "WRONG"
        self._lines += 1
        self.bad += verdict != "in time"
        words = words if len(words) <= _LONGEST else words[: _LONGEST - 1] + "…"
        self._write(self._time(at), f"  {who}", words, took, f"{bound:.2f}s", verdict)

    def judge(self, what: str, times: int, expected: int) -> None:
        """Count a line against it when something happened more or less often than it should."""
        if times != expected:
            self.bad += 1
            say(f"WRONG: {what} {times} times, not {expected}")

    def sum_up(self) -> None:
        """Write how it went."""
        if self.bad:
            say(f"\nNOT as it should be: {self.bad} times; see the verdicts above")
        else:
            say(
                f"\nall {self._lines} lines are right and in time; nobody saw it turn once too"
                " often, and liveness was SERVING all the time"
            )

    def _time(self, at: float) -> str:
        return f"{max(0.0, at - self._began):5.1f}s"

    def _write(self, *cells: str) -> None:
        at, who, words, took, bound, verdict = cells
        say(f"{at:<6}  {who:<21}  {words:<{_LONGEST}}  {took:>6}  {bound:>6}  {verdict}")

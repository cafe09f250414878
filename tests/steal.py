"""Tells how much of the processors' time went to other machines: what that spoils is not ours."""

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

__all__ = ["Meter", "Slice", "Stolen"]

_SLICE: Final = 0.5
"""Seconds."""


class Stolen:
    """Counts from the moment that it is made."""

    def __init__(self) -> None:
        self._before = _ticks()

    def share(self) -> float:
        """Say which part of the processors' time was stolen since."""
        spent = [late - early for early, late in zip(self._before, _ticks(), strict=True)]
        return spent[-1] / (sum(spent) or 1)


@dataclass(frozen=True)
class Slice:
    """A part of a measurement; its times are monotonic seconds."""

    begun: float
    over: float
    stolen: float
    """Which part of the processors' time went to other machines."""


class Meter:
    """Cuts a measurement into slices, in a thread of its own, from when it is entered until left.

    What is stolen comes in patches: what was measured between these says how it is without it.

    Args:
        calm: the part of the processors' time up to which a slice in which others got it is calm.
    """

    def __init__(self, calm: float) -> None:
        self._calm = calm
        self._slices: list[Slice] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def calm(self, since: float) -> list[Slice]:
        """Give the calm slices that have begun since then and are over."""
        return [one for one in self._slices if one.begun >= since and one.stolen <= self._calm]

    def _run(self) -> None:
        while not self._over.is_set():
            begun, since_now = time.monotonic(), Stolen()
            if not self._over.wait(_SLICE):  # a shorter one may have no tick in it, stolen or not
                self._slices.append(Slice(begun, time.monotonic(), since_now.share()))


def _ticks() -> list[int]:
    """Read what the processors did so far: user, nice, system, idle and waits; steal is last."""
    try:
        return [int(ticks) for ticks in Path("/proc/stat").read_text().split()[1:9]]
    except FileNotFoundError:
        return [0] * 8

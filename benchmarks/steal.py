"""Tells how much of the processors' time went to other machines: what that spoils is not ours."""

from pathlib import Path

__all__ = ["Stolen"]


class Stolen:
    """Counts from the moment that it is made."""

    def __init__(self) -> None:
        self._before = _ticks()

    def share(self) -> float:
        """Say which part of the processors' time was stolen since."""
        spent = [late - early for early, late in zip(self._before, _ticks(), strict=True)]
        return spent[-1] / (sum(spent) or 1)


def _ticks() -> list[int]:
    """Read what the processors did so far: user, nice, system, idle and waits; steal is last."""
    try:
        return [int(ticks) for ticks in Path("/proc/stat").read_text().split()[1:9]]
    except FileNotFoundError:
        return [0] * 8

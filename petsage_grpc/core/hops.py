"""Reads and writes the two headers by which services that check each other notice the cycle.

A check that asks says in `petsage-hops` who asks. The answer leaves out what leads back to the one
who asks, and says in `petsage-reaches` where the checks of the answering service lead: the name of
each backend and how far away it is, as in ``orders=0,ledger=1``.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

__all__ = [
    "FARTHEST", "HOPS", "MOST", "REACHES",
    "format_reaches", "is_backend", "merge", "parse_hops", "parse_reaches",
]  # fmt: skip

HOPS: Final = "petsage-hops"
REACHES: Final = "petsage-reaches"

MOST: Final = 64
"""Backends that a header names at most; the nearest are kept."""
FARTHEST: Final = 16
"""Hops over which a backend is heard of.

Each hop counts up, so that one that is gone, but that two who ask each other still tell each other
of, is soon beyond it and forgotten.
"""

_BACKEND: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_REACHED: Final = re.compile(rf"({_BACKEND.pattern})(?:=([0-9]{{1,2}}))?")


def is_backend(text: str) -> bool:
    """Say whether a text can name a backend in the headers."""
    return _BACKEND.fullmatch(text) is not None


def parse_hops(values: Iterable[str | bytes]) -> frozenset[str]:
    """Read who asks; what names nobody is ignored."""
    # Not all of what is longer than any of ours: whoever asks may ask often.
    return frozenset(part for part in _split(values)[:MOST] if is_backend(part))


def parse_reaches(values: Iterable[str | bytes]) -> dict[str, int]:
    """Read where a service leads, with the distance from us; what makes no sense is ignored."""
    distances: dict[str, int] = {}
    for part in _split(values):
        match = _REACHED.fullmatch(part)
        if match is not None:
            _add(distances, match[1], int(match[2] or 0) + 1)
    return _nearest(distances)


def format_reaches(distances: Mapping[str, int]) -> str:
    """Write where we lead, the nearest first."""
    return ",".join(f"{backend}={away}" for backend, away in _nearest(distances).items())


def merge(all_distances: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Put what is known by several ways together: the shortest way counts."""
    merged: dict[str, int] = {}
    for distances in all_distances:
        for backend, away in distances.items():
            _add(merged, backend, away)
    return merged


def _split(values: Iterable[str | bytes]) -> list[str]:
    texts = (value if isinstance(value, str) else value.decode("latin-1") for value in values)
    return [part.strip() for text in texts for part in text.split(",")]


def _add(distances: dict[str, int], backend: str, away: int) -> None:
    distances[backend] = min(away, distances.get(backend, away))


def _nearest(distances: Mapping[str, int]) -> dict[str, int]:
    ordered = sorted(distances.items(), key=lambda item: (item[1], item[0]))
    return {backend: away for backend, away in ordered[:MOST] if away <= FARTHEST}

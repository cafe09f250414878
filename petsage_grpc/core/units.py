"""Durations and sizes as people write them, read in one place for settings and flags."""

import re
from typing import NewType

__all__ = ["Duration", "Size", "format_duration", "parse_duration", "parse_size", "to_seconds"]

Duration = NewType("Duration", float)
"""Seconds."""

Size = NewType("Size", int)
"""Bytes."""

_DURATION_UNITS = {
    "ns": (1, 1e9), "us": (1, 1e6), "µs": (1, 1e6), "μs": (1, 1e6), "ms": (1, 1e3),
    "s": (1, 1), "m": (60, 1), "h": (3600, 1),
}  # fmt: skip
"""How many of so many parts of a second each is: 1e-6 would not be the same as 1 / 1e6."""
_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_SIZE_UNITS = {"": 1, "B": 1} | {
    prefix + suffix: base**power
    for power, prefix in enumerate("KMGT", start=1)
    for suffix, base in (("iB", 1024), ("B", 1000))
}
_SIZE = re.compile(r"(\d+(?:\.\d*)?) ?([KMGT]i?B|B|)", re.ASCII)


def parse_duration(text: str) -> Duration:
    """Read a duration as Go and our settings write it: ``"500ms"``, ``"1m30s"``, ``"0"``.

    Raises ValueError when the text is none; a negative one is none either.
    """
    if text == "0":
        return Duration(0.0)
    seconds, end = 0.0, 0
    while match := _DURATION_PART.match(text, end):
        times, parts = _DURATION_UNITS[match[2]]
        seconds += float(match[1]) * times / parts
        end = match.end()
    if end == 0 or end != len(text):
        raise ValueError(f'{text!r} is not a duration: write it like "500ms", "10s" or "1m30s"')
    return Duration(seconds)


def to_seconds(given: float | str, name: str) -> Duration:
    """Take a number of seconds, or a duration as settings have it, which is called so.

    Raises ValueError, or TypeError, when it is neither.
    """
    try:
        return parse_duration(given) if isinstance(given, str) else Duration(float(given))
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None


def format_duration(seconds: float) -> str:
    """Write a duration in seconds shortly, as people read it: ``1.5`` becomes ``"1.5s"``."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:.3g}ms"
    return f"{seconds:.6g}s"


def parse_size(text: str) -> Size:
    """Read a number of bytes: ``"64MiB"``, ``"1.5GB"`` or ``"4096"``.

    Raises ValueError when the text is none.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f'{text!r} is not a size: write it like "64MiB", "1.5GB" or 4096')
    return Size(int(float(match[1]) * _SIZE_UNITS[match[2]]))

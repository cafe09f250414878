"""Durations and sizes are read as people write them, and refused with the way to write them."""

import pytest

from petsage_grpc.core.units import format_duration, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10), ("500ms", 0.5), ("2m", 120), ("1h", 3600), ("1m30s", 90), ("1.5h", 5400),
        (".5s", 0.5), ("0", 0), ("0s", 0), ("100us", 1e-4), ("100µs", 1e-4), ("200us", 0.0002),
        ("1h2m3.5s", 3723.5),
    ],
)  # fmt: skip
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "10", "s", "-1s", "1 s", "1d", "1s ", "1s2", "ten", "1e3s", "٣s"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration: write it like"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "500ms"), (1, "1s"), (1.5, "1.5s"), (90, "90s"), (0.0004, "0.4ms"), (0, "0s")],
)
def test_a_duration_is_written_shortly(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096", 4096),
        ("64MiB", 64 * 1024**2),
        ("1.5GB", 1_500_000_000),
        ("10 KiB", 10240),
        ("1B", 1),
    ],
)
def test_a_size_is_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1 XB", "64 mib", "1KiBs", "5iB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size: write it like"):
        parse_size(text)

"""SECURITY.md says what the code does: its settings are there, and their defaults are those."""

import re
from pathlib import Path

import pytest

from petsage_grpc.core.hops import HOPS
from petsage_grpc.settings import Settings

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "SECURITY.md").read_text()
KNOWN = set(Settings.__dataclass_fields__)
OTHERS = {"authorized", "always", "never", "false", "set", "refused", HOPS}
"""What stands in the same signs, and is none."""


def words(text: str) -> set[str]:
    return set(re.findall(r"`([a-z][a-z_-]+)`", text))


def rows(heading: str) -> list[list[str]]:
    """Read the rows of the first table after a heading."""
    table = re.findall(r"(?:^\|.*\n)+", TEXT.split(f"{heading}\n")[1], flags=re.MULTILINE)[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]
    ]


def test_every_setting_that_it_names_exists() -> None:
    assert words(TEXT) - OTHERS <= KNOWN
    assert set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", TEXT)) <= KNOWN


EXPOSURE = rows("## Who is told what")


@pytest.mark.parametrize("row", EXPOSURE, ids=lambda row: row[0])
def test_each_exposure_has_the_default_of_its_setting(row: list[str]) -> None:
    for name in words(row[0]):
        value = getattr(Settings(), name)
        shown = ", ".join(value) if isinstance(value, tuple) else value
        assert row[1].strip("`") == {"": "none", True: "on"}.get(shown, shown)


def test_every_limit_is_in_the_table() -> None:
    named = words("\n".join(row[1] for row in rows("## What is defended")))
    limits = {name for name in KNOWN if "max_" in name} - {"max_silence"}
    limits |= {"watch_send_timeout", "handshake_timeout", "min_ping_interval"}
    assert named == limits | {"refresh_interval", "history"}


def test_it_can_be_read_in_one_sitting() -> None:
    assert len(TEXT.splitlines()) <= 150

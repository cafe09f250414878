"""The table of limits in the README and the defaults of the settings say the same."""

import dataclasses
from pathlib import Path
from typing import Final

import pytest

from petsage_grpc.core.units import format_duration
from petsage_grpc.rpc.health import MAX_LISTED
from petsage_grpc.rpc.reflection import IDLE, MAX_CALLS, MAX_CALLS_PER_PEER
from petsage_grpc.settings import Settings
from tests.test_readme import table

TESTS = Path(__file__).parent
ROWS: Final = table("Limits")
OTHER_LIMITS: Final = {
    "watch_send_timeout", "handshake_timeout", "min_ping_interval", "refresh_interval",
    "history", "drain_delay", "grace",
}  # fmt: skip
"""Those whose names do not say that they are limits."""


def shown(value: object) -> str:
    """Write a default as the table does."""
    return format_duration(value).replace("s", " s") if isinstance(value, float) else str(value)


def test_every_limit_of_the_settings_stands_in_the_table_once() -> None:
    settings = {field.name for field in dataclasses.fields(Settings)}
    limits = {name for name in settings if name.startswith("max_") or "_max_" in name}
    named = [row[2].strip("`") for row in ROWS if row[2].startswith("`")]
    assert sorted(named) == sorted(limits | OTHER_LIMITS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_has_the_default_of_its_setting_and_what_happens(row: list[str]) -> None:
    _, default, setting, happens = row
    assert happens
    if setting.startswith("`"):
        value = shown(getattr(Settings(), setting.strip("`")))
        assert default == {"`refresh_interval`": "one a second"}.get(setting, value)


def test_what_can_not_be_set_is_as_the_table_says() -> None:
    fixed = [row[1] for row in ROWS if row[2] == "fixed"]
    assert fixed == [shown(value) for value in (MAX_CALLS, MAX_CALLS_PER_PEER, IDLE)]
    assert [row[1] for row in ROWS if row[2] == "by the protocol"] == [str(MAX_LISTED)]


def test_each_limit_of_the_settings_is_written_with_a_value_in_some_test() -> None:
    written = "".join(
        path.read_text() for path in TESTS.rglob("test_*.py") if path != Path(__file__)
    )
    named = [row[2].strip("`") for row in ROWS if row[2].startswith("`")]
    assert [name for name in named if f"{name}=" not in written] == []

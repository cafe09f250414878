"""A value of the file is read as its setting wants it, or refused with the place and the mend."""

from pathlib import Path

import pytest

from petsage_grpc.settings_load import load_settings
from tests.settings.conftest import (
    LISTEN,
    NO_DURATION,
    NO_DURATION_TEXT,
    NO_LIST,
    NO_SIZE,
    NO_SIZE_TEXT,
    NO_STRING,
    NO_SUCH,
    named,
    refusal,
)


@pytest.mark.parametrize(
    ("text", "line"),
    named(
        (
            "an unknown setting that resembles a known one",
            "drain_dely = 1",
            "drain_dely: no such setting; did you mean drain_delay?",
        ),
        ("an unknown setting that resembles none", "foo = 1", f"foo: {NO_SUCH}"),
        ("an unknown table", "[tls]\nkey = 1", f"tls: {NO_SUCH}"),
        ("an unknown key of two lines", '"a\\nb" = 1', f'"a\\nb": {NO_SUCH}'),
        ("a number for a string", "message = 5", f"message: 5 {NO_STRING}"),
        ("a boolean for a string", "message = true", f"message: true {NO_STRING}"),
        ("a list for a string", "message = ['a']", f"message: a list {NO_STRING}"),
        ("a date for a string", "message = 2020-02-01", f"message: 2020-02-01 {NO_STRING}"),
        ("a string for a boolean", "reflection = 'yes'", "reflection: 'yes' is not true or false"),
        ("a number for a boolean", "reflection = 1", "reflection: 1 is not true or false"),
        (
            "a string for a number",
            "max_watchers = 'many'",
            "max_watchers: 'many' is not a whole number",
        ),
        (
            "a fraction for a whole number",
            "max_watchers = 2.5",
            "max_watchers: 2.5 is not a whole number",
        ),
        (
            "a boolean for a whole number",
            "max_watchers = true",
            "max_watchers: true is not a whole number",
        ),
        ("a negative limit", "max_watchers = -1", "max_watchers: must be more than 0"),
        ("a limit of nothing", "max_watchers = 0", "max_watchers: must be more than 0"),
        ("a duration without its unit", "grace = '30'", f"grace: '30' {NO_DURATION_TEXT}"),
        ("a duration in words", "grace = 'long'", f"grace: 'long' {NO_DURATION_TEXT}"),
        ("a boolean for a duration", "grace = true", f"grace: true {NO_DURATION}"),
        ("a list for a duration", "grace = [5]", f"grace: a list {NO_DURATION}"),
        ("a table for a duration", "grace = {s = 5}", f"grace: a table {NO_DURATION}"),
        ("a negative duration", "grace = -1", f"grace: -1 {NO_DURATION}"),
        ("a duration that is no number", "grace = nan", f"grace: nan {NO_DURATION}"),
        ("a duration for ever", "grace = inf", f"grace: inf {NO_DURATION}"),
        ("a duration beyond all floats", f"grace = 1{'0' * 400}", "grace: too large a number"),
        (
            "an unknown unit of size",
            "max_name_length = '1 XB'",
            f"max_name_length: '1 XB' {NO_SIZE_TEXT}",
        ),
        ("a fraction for a size", "max_name_length = 1.5", f"max_name_length: 1.5 {NO_SIZE}"),
        ("a boolean for a size", "max_name_length = true", f"max_name_length: true {NO_SIZE}"),
        ("a negative size", "max_name_length = -1", f"max_name_length: -1 {NO_SIZE}"),
        (
            "a size beyond all floats",
            f"max_name_length = '{'9' * 400}'",
            "max_name_length: too large a number",
        ),
        (
            "a name longer than a message",
            "max_name_length = '1MiB'",
            "max_name_length: must be less than max_message_size (16384)",
        ),
        (
            "a message shorter than a name",
            "max_message_size = 100",
            "max_message_size: must be more than max_name_length (1024)",
        ),
        (
            "a message larger than grpc can say",
            "max_message_size = '2GiB'",
            "max_message_size: must be less than 2GiB",
        ),
        ("a number for an address", "listen = 50051", f"listen: 50051 {NO_LIST}"),
        ("a number in a list of addresses", "listen = [1]", f"listen: 1 {NO_STRING}"),
        (
            "nowhere to listen",
            "listen = []",
            'listen: at least one address is needed, like "127.0.0.1:50051"',
        ),
        (
            "an address without a port",
            "listen = 'localhost'",
            f"listen: 'localhost' has no port: {LISTEN}",
        ),
        (
            "a port out of range",
            "listen = ['localhost:65536']",
            f"listen: 'localhost:65536' has no port from 0 to 65535: {LISTEN}",
        ),
        (
            "the same address twice",
            "listen = ['a:1', 'b:1', 'a:1']",
            "listen: 'a:1' is listed twice: remove one",
        ),
        (
            "a grace that the drain uses up",
            "grace = 3",
            "grace: must be more than drain_delay (5s)",
        ),
        (
            "a drain as long as the grace",
            "drain_delay = 25",
            "drain_delay: must be less than grace (25s)",
        ),
        (
            "a drain that contradicts a grace of the same file",
            "drain_delay = 2\ngrace = 2",
            "grace: must be more than drain_delay (2s)",
        ),
        (
            "unknown details",
            "details = 'some'",
            "details: 'some' is none of never, authorized, always",
        ),
        (
            "a level in small letters",
            "log_level = 'info'",
            "log_level: 'info' is none of DEBUG, INFO, WARNING, ERROR",
        ),
    ),
)
def test_the_file_is_refused_with_the_place_and_the_mend(file: Path, text: str, line: str) -> None:
    file.write_text(text)
    assert refusal(file) == f"{file}: {line}"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30.0), ("30.5", 30.5), ("'30s'", 30.0), ("'1m30s'", 90.0), ("'5001ms'", 5.001)],
)
def test_a_duration_is_a_number_of_seconds_or_a_text(file: Path, text: str, seconds: float) -> None:
    file.write_text(f"grace = {text}")
    grace = load_settings(file, environ={}).grace
    assert isinstance(grace, float)
    assert grace == seconds


def test_one_address_to_listen_on_needs_no_list(file: Path) -> None:
    file.write_text("listen = '[::1]:50051'")
    assert load_settings(file, environ={}).listen == ("[::1]:50051",)
    assert load_settings(environ={}, listen="a:1").listen == ("a:1",)
    assert load_settings(environ={}, listen=("a:1", "b:2")).listen == ("a:1", "b:2")

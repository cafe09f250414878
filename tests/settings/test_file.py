"""A file that can not be read, or is no TOML, is refused in one line."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from petsage_grpc.errors import SettingsError
from petsage_grpc.settings_load import load_settings
from tests.settings.conftest import (
    NAME_IT,
    disk,
    named,
    refusal,
)


@pytest.mark.parametrize(
    ("text", "place"),
    named(
        ("a value that is missing", "grace = 30\nlisten = \n", "(at line 2, column 10)"),
        ("a string without quotes", "message = hello\n", "(at line 1, column 11)"),
        ("a key that stands twice", "grace = 30\ngrace = 31\n", "(at line 2, column 11)"),
        ("a check that stands twice", 2 * disk("fall = 1"), "(at line 4, column 13)"),
        ("a list without an end", "listen = [", "(at end of document)"),
    ),
)
def test_what_is_no_toml_is_refused_with_line_and_column(file: Path, text: str, place: str) -> None:
    file.write_text(text)
    said = refusal(file)
    assert said.startswith(f"{file}: not valid TOML: ")
    assert said.endswith(place)


def test_lists_in_lists_without_an_end_are_refused(file: Path) -> None:
    file.write_text("listen = " + 9999 * "[")
    assert refusal(file) == f"{file}: not valid TOML: nested too deeply"


def test_a_number_of_thousands_of_digits_is_refused(file: Path) -> None:
    file.write_text("grace = 1" + 9999 * "0")
    assert refusal(file).startswith(f"{file}: Exceeds the limit (4300 digits)")
    file.write_text("grace = 0x1" + 9999 * "0")
    assert refusal(file) == f"{file}: grace: too large a number"
    file.write_text("max_name_length = 0x1" + 9999 * "0")
    assert refusal(file) == f"{file}: max_name_length: must be less than 2GiB"
    file.write_text("message = 0x1" + 9999 * "0")
    assert refusal(file).startswith(f"{file}: message: Exceeds the limit (4300 digits)")


def test_a_missing_file_is_refused(file: Path) -> None:
    assert refusal(file) == f"{file}: can not be read: No such file or directory; {NAME_IT}"


def test_a_file_without_a_name_is_not_taken_for_the_directory() -> None:
    with pytest.raises(SettingsError, match=r"^the settings file has no name: name one, or leave"):
        load_settings("", environ={})


def test_a_mark_of_the_byte_order_is_no_part_of_the_file(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbfmax_threads = 3")
    assert load_settings(file, environ={}).max_threads == 3


def test_a_directory_in_place_of_the_file_is_refused(file: Path) -> None:
    file.mkdir()
    assert refusal(file) == f"{file}: can not be read: Is a directory; {NAME_IT}"


@pytest.fixture
def private(file: Path) -> Iterator[Path]:
    """A file that nobody may read, and nobody to read it: root could all the same."""
    file.touch(mode=0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield file
    os.seteuid(user)


def test_a_file_that_the_user_may_not_read_is_refused(private: Path) -> None:
    assert refusal(private) == f"{private}: can not be read: Permission denied; {NAME_IT}"


def test_a_huge_file_is_refused_without_being_read_to_its_end(file: Path) -> None:
    with file.open("wb") as sparse:
        sparse.truncate(2**40)
    assert refusal(file) == f"{file}: larger than 1 MiB: is it the right file?"


def test_a_file_that_is_not_utf_8_is_refused_with_the_line(file: Path) -> None:
    file.write_bytes(b'grace = 30\nmessage = "gr\xfc\xdf"\n')
    assert refusal(file) == f"{file}: line 2 is not UTF-8: save the file as UTF-8"


def test_a_file_with_a_strange_name_is_named_in_one_line(file: Path) -> None:
    strange = file.with_name("a\n\x1b[31mb")
    expected = f"a\\n\\x1b[31mb: can not be read: No such file or directory; {NAME_IT}"
    assert refusal(strange) == expected

"""A value may refer to variables and files, and what can not be read in is refused."""

import pickle
from pathlib import Path

import pytest

from petsage_grpc._gen.petsage.v1 import smoke_test_pb2
from petsage_grpc.checks.log import LogCheck
from petsage_grpc.settings_load import load_settings
from tests.settings.conftest import NAME_IT, SECRET, ask, checked, named, refusal


@pytest.mark.parametrize(
    ("text", "line"),
    named(
        (
            "a variable that is not set",
            ask("url = 'http://${HOST}/'"),
            "checks.ask.url: ${HOST}: the environment has no such variable: set it",
        ),
        (
            "a variable without a name in a list",
            "listen = ['a:1', '${}']",
            "listen: ${}: the environment has no such variable: set it",
        ),
        (
            "a file that is missing",
            ask("url = '${file:/no/such/file}'"),
            (
                "checks.ask.url: ${file:/no/such/file}: can not be read: No such file or"
                f" directory; {NAME_IT}"
            ),
        ),
        (
            "a directory for a file that is referred to",
            ask("headers.Host = '${file:/}'\nurl = ''"),
            f"checks.ask.headers.Host: ${{file:/}}: can not be read: Is a directory; {NAME_IT}",
        ),
        (
            "a file that no file system can have",
            'message = "${file:a\\u0000b}"',
            f"message: ${{file:a\\x00b}}: can not be read: embedded null byte; {NAME_IT}",
        ),
        (
            "a file without an end",
            "message = '${file:/dev/zero}'",
            "message: ${file:/dev/zero}: larger than 1 MiB: is it the right file?",
        ),
    ),
)
def test_the_file_is_refused_with_the_place_and_the_mend(file: Path, text: str, line: str) -> None:
    file.write_text(text)
    assert refusal(file) == f"{file}: {line}"


def test_a_value_may_name_variables_and_files_at_any_depth(file: Path) -> None:
    file.with_name("password").write_text("s3cr\u00e9t$1\\1\r\n", encoding="utf-8")
    file.write_text(
        "message = '${GREETING}'\nlisten = ['${HOST}:1', 'b:2']\n"
        + ask(
            "url = 'sql://${USER}:${file:password}@${HOST}/db?${USER}'\n"
            "hosts = ['${HOST}']\nheaders.Token = '${file:password}'"
        )
    )
    environ = {"GREETING": "${HOST}", "HOST": "db", "USER": "petsage", "EMPTY": ""}
    settings = load_settings(file, environ=environ)
    assert settings.message == "${HOST}"  # what is read in is taken as it is
    assert settings.listen == ("db:1", "b:2")
    check = checked(settings)
    assert check.url == "sql://petsage:s3cr\u00e9t$1\\1@db/db?petsage"
    assert check.hosts == ("db",)
    assert check.headers == {"Token": "s3cr\u00e9t$1\\1"}


def test_what_a_reference_stands_for_is_read_as_the_type_of_its_setting(file: Path) -> None:
    file.write_text(
        "grace = '${G}'\ndrain_delay = '${D}s'\nreflection = '${R}'\nlisten = '${L}'\n"
        + ask("url = ''\nport = '${P}'\nratio = '${D}'\ncodes = ['${P}', 2]\npause = '${file:p}'")
    )
    file.with_name("p").write_text("1.5\n")
    environ = {"G": "30", "D": "0.5", "R": "false", "L": "a:1,b:2", "P": "3"}
    settings = load_settings(file, environ=environ)
    assert (settings.grace, settings.drain_delay, settings.reflection) == (30.0, 0.5, False)
    assert settings.listen == ("a:1", "b:2")
    check = checked(settings)
    assert (check.port, check.ratio, check.codes, check.pause) == (3, 0.5, (3, 2), 1.5)


def test_a_kind_may_be_named_by_a_variable(file: Path) -> None:
    file.write_text("[checks.a]\nkind = '${KIND}'")
    assert load_settings(file, environ={"KIND": "log"}).checks["a"].check == LogCheck()


def test_dollars_that_refer_to_nothing_are_kept(file: Path) -> None:
    file.write_text("message = 'costs $5, $HOME, {} and ${'")
    assert load_settings(file, environ={}).message == "costs $5, $HOME, {} and ${"


def test_a_variable_that_the_file_refers_to_is_not_unknown(file: Path) -> None:
    file.write_text(ask("url = '${PETSAGE_DB_URL}'"))
    settings = load_settings(file, environ={"PETSAGE_DB_URL": "sql://db"})
    assert checked(settings).url == "sql://db"


def test_a_variable_that_the_file_refers_to_is_still_a_setting(file: Path) -> None:
    file.write_text("message = 'drains ${PETSAGE_DRAIN_DELAY}'")
    settings = load_settings(file, environ={"PETSAGE_DRAIN_DELAY": "2"})
    assert (settings.message, settings.drain_delay) == ("drains 2", 2.0)


def test_what_came_from_a_reference_is_a_string_like_any_other(file: Path) -> None:
    file.write_text("message = 'a ${S}'")
    message = load_settings(file, environ={"S": SECRET}).message
    assert message == f"a {SECRET}"
    assert f"{message}" == str(message) == f"a {SECRET}"
    assert smoke_test_pb2.SmokeTestResponse(message=message).message == f"a {SECRET}"
    copy = pickle.loads(pickle.dumps(message))
    assert (copy, repr(copy)) == (message, repr(message))

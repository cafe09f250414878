"""What a reference stands for is never shown."""

from pathlib import Path

import pytest

from petsage_grpc.settings_load import load_settings
from tests.settings.conftest import (
    KIND_NAMES,
    LISTEN,
    NO_DURATION_TEXT,
    NO_SIZE_TEXT,
    NO_SUCH,
    NO_TABLE,
    SECRET,
    ask,
    checked,
    disk,
    named,
    refusal,
)


@pytest.mark.parametrize(
    ("text", "line"),
    named(
        ("in place of a duration", "grace = '${S}'", f"grace: '${{S}}' {NO_DURATION_TEXT}"),
        (
            "in place of a size",
            "max_name_length = '${S}'",
            f"max_name_length: '${{S}}' {NO_SIZE_TEXT}",
        ),
        (
            "in place of a number",
            disk("fall = '${S}'"),
            "checks.disk.fall: '${S}' is not a whole number",
        ),
        ("in place of a boolean", "reflection = '${S}'", "reflection: '${S}' is not true or false"),
        ("in place of a table", "checks = '${S}'", f"checks: '${{S}}' {NO_TABLE}"),
        ("in place of a check", "checks.a = '${S}'", f"checks.a: '${{S}}' {NO_TABLE}"),
        (
            "in place of a kind",
            "checks.a.kind = '${S}'",
            f"checks.a.kind: there is no kind '${{S}}'; the kinds are {KIND_NAMES}",
        ),
        ("in place of an address", "listen = '${S}'", f"listen: '${{S}}' has no port: {LISTEN}"),
        (
            "in a list of addresses",
            "listen = ['a:1', '${S}']",
            f"listen: '${{S}}' has no port: {LISTEN}",
        ),
        (
            "in an address twice",
            "listen = ['${S}:1', '${S}:1']",
            "listen: '${S}:1' is listed twice: remove one",
        ),
        (
            "in place of a choice",
            "log_level = '${S}'",
            "log_level: '${S}' is none of DEBUG, INFO, WARNING, ERROR",
        ),
        (
            "in place of gates",
            disk("gates = '${S}'"),
            "checks.disk.gates: '${S}' is none of readiness, liveness, startup",
        ),
        (
            "in place of a gate",
            disk("gates = ['readiness', '${S}']"),
            "checks.disk.gates: '${S}' is none of readiness, liveness, startup",
        ),
        (
            "in a group",
            "groups.a = ['${S}']",
            "groups.a: there is no check '${S}'; there are: disk, log",
        ),
        ("in an unknown setting", "foo = '${S}'", f"foo: {NO_SUCH}"),
        ("in an unknown setting of a check", disk("foo = '${S}'"), f"checks.disk.foo: {NO_SUCH}"),
        (
            "in the middle of a list of numbers",
            ask("url = ''\ncodes = [1, '${S}']"),
            "checks.ask.codes: '${S}' is not a whole number",
        ),
        (
            "in what a kind says of its setting",
            ask("url = 'bad ${S}'"),
            "checks.ask.url: can not ask\\nbad ${S}",
        ),
        (
            "in what a kind says without a key",
            ask("url = 'worse:${S}@${E}'"),
            "checks.ask: can not ask worse:${S}@${E}",
        ),
        (
            "in what a kind says of a list",
            ask("url = '${E}'\nhosts = ['bad', '${S}']"),
            "checks.ask.hosts: must not be bad, ${S}",
        ),
        (
            "in what a kind says of a table",
            ask("url = ''\nheaders.Bad = '${S}'"),
            "checks.ask.headers: ${S} is bad",
        ),
        (
            "from a file",
            "grace = '${file:secret}'",
            f"grace: '${{file:secret}}' {NO_DURATION_TEXT}",
        ),
    ),
)
@pytest.mark.parametrize("secret", [SECRET, 'it\'s\n"two" \\ lines'], ids=["plain", "strange"])
def test_a_secret_is_never_shown(file: Path, text: str, line: str, secret: str) -> None:
    file.with_name("secret").write_text(f"{secret}\n")
    file.write_text(text)
    assert refusal(file, {"S": secret, "E": ""}) == f"{file}: {line}"


def test_the_value_of_an_unknown_variable_is_not_shown() -> None:
    assert SECRET not in refusal(None, {"PETSAGE_PASSWORD": SECRET})


def test_a_secret_is_not_shown_with_the_settings_either(file: Path) -> None:
    file.write_text(ask("url = 'sql://${S}@db'\nheaders.Token = '${S}'\nhosts = '${S}'"))
    settings = load_settings(file, environ={"S": SECRET})
    assert SECRET not in repr(settings)
    assert "sql://${S}@db" in repr(settings)


def test_what_came_from_references_is_hidden_by_the_check_whole_and_in_part(file: Path) -> None:
    file.write_text(
        ask(
            "url = 'sql://${U}:${S}@db'\nheaders.Token = 'Bearer ${file:token}'\n"
            "hosts = ['${H}', 'plain']"
        )
    )
    file.with_name("token").write_text("t0k3n\n")
    check = checked(load_settings(file, environ={"U": "petsage", "S": SECRET, "H": "db.example"}))
    assert check.secrets == {
        f"sql://petsage:{SECRET}@db": "sql://${U}:${S}@db",
        "petsage": "${U}",
        SECRET: "${S}",
        "Bearer t0k3n": "Bearer ${file:token}",
        "t0k3n": "${file:token}",
        "db.example": "${H}",
    }
    assert check.redact(f"no password {SECRET} at db.example") == "no password ${S} at ${H}"


def test_each_item_of_a_list_from_a_reference_is_hidden(file: Path) -> None:
    file.write_text(ask("url = ''\nhosts = '${H}'"))
    check = checked(load_settings(file, environ={"H": "one.example, two.example"}))
    assert check.hosts == ("one.example", "two.example")
    assert check.redact("two.example, one.example") == "${H}, ${H}"


def test_what_stands_in_the_file_itself_is_not_hidden_for_that(file: Path) -> None:
    file.write_text(ask("url = 'sql://db'\nhosts = ['db.example']"))
    assert checked(load_settings(file, environ={})).secrets == {}


@pytest.mark.parametrize("value", ["", "abc", "5432", "-1.5", "true", "False"])
def test_what_is_too_common_to_be_a_secret_is_not_hidden(file: Path, value: str) -> None:
    file.write_text(ask("url = '${V}'\nhosts = ['${V}']"))
    assert checked(load_settings(file, environ={"V": value})).secrets == {}


@pytest.mark.parametrize("pin", ["839204", "839204758392", "8392.047583"])
def test_a_key_of_digits_is_hidden(file: Path, pin: str) -> None:
    file.write_text(ask("url = 'http://api/?key=${PIN}'"))
    check = checked(load_settings(file, environ={"PIN": pin}))
    assert check.redact(f"no such key {pin}") == "no such key ${PIN}"


def test_what_is_no_text_is_not_hidden(file: Path) -> None:
    file.write_text(
        ask("url = ''\nport = '${N}'\npause = '${D}'\nmost = '${Z}'\ninterval = '${D}'")
        + "gates = ['${G}']\n"
    )
    environ = {"N": "65536", "D": "1m30s", "Z": "64MiB", "G": "readiness"}
    check = checked(load_settings(file, environ=environ))
    assert (check.port, check.pause, check.most) == (65536, 90.0, 64 * 1024**2)
    assert check.secrets == {}


@pytest.mark.parametrize(
    ("text", "line"),
    named(
        ("in an address", "listen = 'pg://me:S@db'", "listen: 'pg://***@db' has no port from 0"),
        ("in place of a number", disk("fall = 'pg://me:S@db'"), "checks.disk.fall: 'pg://***@db' "),
        (
            "in what a kind says",
            ask("url = 'bad pg://me:S@db/x'"),
            "checks.ask.url: can not ask\\nbad pg://***@db/x",
        ),
        ("in a name", "groups.'pg://me:S@db' = []", 'groups."pg://***@db": needs at least one'),
    ),
)
def test_a_password_in_a_url_of_the_file_is_not_shown(file: Path, text: str, line: str) -> None:
    file.write_text(text.replace("S", SECRET))
    told = refusal(file)
    assert told.startswith(f"{file}: {line}")
    assert SECRET not in told


def test_a_part_of_a_value_that_a_kind_shows_is_not_shown(file: Path) -> None:
    file.write_text(ask("url = 'worse ${S}'"))
    assert refusal(file, {"S": SECRET}) == f"{file}: checks.ask: can not ask worse ${{S}}"
    file.write_text(ask("url = '${S}'\nhosts = ['bad', 'x-${S}']"))
    assert refusal(file, {"S": SECRET}) == f"{file}: checks.ask.hosts: must not be bad, x-${{S}}"

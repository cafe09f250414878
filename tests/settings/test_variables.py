"""Variables and arguments override the file, and what is wrong with them is said by their names."""

from pathlib import Path
from typing import Any

import pytest

from petsage_grpc.errors import SettingsError
from petsage_grpc.settings import Settings
from petsage_grpc.settings_load import load_settings
from tests.settings.conftest import (
    LISTEN,
    NO_DURATION,
    NO_DURATION_TEXT,
    NO_SIZE_TEXT,
    NO_SUCH,
    named,
    refusal,
)

# What is refused


@pytest.mark.parametrize(
    ("variable", "text", "wrong"),
    named(
        ("a word for a duration", "GRACE", "long", f"'long' {NO_DURATION_TEXT}"),
        ("nothing for a duration", "GRACE", "", f"'' {NO_DURATION_TEXT}"),
        ("a negative duration", "GRACE", "-1", f"'-1' {NO_DURATION}"),
        ("a duration for ever", "GRACE", "inf", f"'inf' {NO_DURATION_TEXT}"),
        ("a word for a number", "MAX_WATCHERS", "many", "'many' is not a whole number"),
        ("a fraction for a number", "MAX_WATCHERS", "2.5", "'2.5' is not a whole number"),
        ("too small a number", "MAX_WATCHERS", "0", "must be more than 0"),
        ("a word for a size", "MAX_NAME_LENGTH", "big", f"'big' {NO_SIZE_TEXT}"),
        ("a word for a boolean", "REFLECTION", "maybe", "'maybe' is not true or false"),
        (
            "a word that is no choice",
            "LOG_LEVEL",
            "x\n",
            "'x\\n' is none of DEBUG, INFO, WARNING, ERROR",
        ),
        ("an address without a port", "LISTEN", "a:1, b", f"'b' has no port: {LISTEN}"),
        (
            "nowhere to listen",
            "LISTEN",
            "",
            'at least one address is needed, like "127.0.0.1:50051"',
        ),
        (
            "a drain that contradicts a default",
            "DRAIN_DELAY",
            "30",
            "must be less than grace (25s)",
        ),
        (
            "an unknown setting like a known one",
            "LOGLEVEL",
            "INFO",
            "no such setting; did you mean PETSAGE_LOG_LEVEL?",
        ),
        (
            "a setting in small letters",
            "grace",
            "5",
            "no such setting; did you mean PETSAGE_GRACE?",
        ),
        ("an unknown setting", "FOO", "1", "no such setting; unset it, or name it otherwise"),
        ("a table", "CHECKS", "disk", "no such setting; unset it, or name it otherwise"),
        (
            "a port that no service link has",
            "PORT",
            "50051",
            "no such setting; unset it, or name it otherwise",
        ),
    ),
)
def test_a_variable_is_refused_by_its_name(variable: str, text: str, wrong: str) -> None:
    assert refusal(None, {f"PETSAGE_{variable}": text}) == f"PETSAGE_{variable}: {wrong}"


@pytest.mark.parametrize(
    ("overrides", "line"),
    named(
        ("an unknown setting", {"foo": 1}, f"argument foo: {NO_SUCH}"),
        ("a wrong type", {"grace": True}, f"argument grace: true {NO_DURATION}"),
        ("an address", {"listen": ["a"]}, f"argument listen: 'a' has no port: {LISTEN}"),
        (
            "a setting of a check",
            {"checks": {"a": {"kind": "disk", "fall": 0}}},
            "argument checks.a.fall: must be at least 1",
        ),
        (
            "a contradiction to a default",
            {"drain_delay": 30},
            "argument drain_delay: must be less than grace (25s)",
        ),
    ),
)
def test_an_argument_is_refused_by_its_name(overrides: dict[str, Any], line: str) -> None:
    assert refusal(None, **overrides) == line


@pytest.mark.parametrize(
    ("text", "environ", "overrides", "line"),
    named(
        (
            "the variable is to blame that overrides a right file",
            "grace = 10",
            {"PETSAGE_GRACE": "x"},
            {},
            f"PETSAGE_GRACE: 'x' {NO_DURATION_TEXT}",
        ),
        (
            "the argument is to blame that overrides a right variable",
            "grace = 10",
            {"PETSAGE_GRACE": "11"},
            {"grace": "x"},
            f"argument grace: 'x' {NO_DURATION_TEXT}",
        ),
        (
            "the file is to blame for what a variable does not touch",
            "grace = 'x'",
            {"PETSAGE_DRAIN_DELAY": "1"},
            {},
            f"petsage.toml: grace: 'x' {NO_DURATION_TEXT}",
        ),
        (
            "a variable is to blame for a contradiction to the file",
            "grace = 10",
            {"PETSAGE_DRAIN_DELAY": "20"},
            {},
            "PETSAGE_DRAIN_DELAY: must be less than grace (10s)",
        ),
        (
            "an argument is to blame for a contradiction to a variable",
            "",
            {"PETSAGE_DRAIN_DELAY": "20"},
            {"grace": 10},
            "argument grace: must be more than drain_delay (20s)",
        ),
        (
            "the file is to blame for a contradiction to a default",
            "max_message_size = 1000",
            {},
            {"listen": "a:1"},
            "petsage.toml: max_message_size: must be more than max_name_length (1024)",
        ),
        (
            "a group of the file is to blame that the checks of an argument do not know",
            "groups.a = ['log']",
            {},
            {"checks": {"disk": {"kind": "disk"}}},
            "petsage.toml: groups.a: there is no check 'log'; there are: disk",
        ),
    ),
)
def test_the_source_is_named_that_has_to_be_mended(
    file: Path, text: str, environ: dict[str, str], overrides: dict[str, Any], line: str
) -> None:
    file.write_text(text)
    assert refusal(file, environ, **overrides) == line


def test_a_variable_that_is_not_utf_8_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ={"PETSAGE_MESSAGE": "\udcff"})
    assert str(caught.value) == "PETSAGE_MESSAGE: it is not UTF-8: write it so"
    path = tmp_path / "petsage.toml"
    path.write_text('message = "${NAME}"\n')
    with pytest.raises(SettingsError) as caught:
        load_settings(path, environ={"NAME": "\udcff"})
    assert str(caught.value) == f"{path}: message: ${{NAME}}: it is not UTF-8: write it so"


# What is right


def test_without_a_file_the_defaults_hold() -> None:
    assert load_settings(environ={"HOME": "/root", "PETSAGES": "x"}) == Settings()


def test_an_argument_overrides_a_variable_and_a_variable_the_file(file: Path) -> None:
    file.write_text("drain_delay = 1\ngrace = 11\nmessage = 'file'")
    environ = {"PETSAGE_GRACE": "12", "PETSAGE_MESSAGE": "variable"}
    settings = load_settings(file, environ=environ, message="argument", listen=None)
    assert (settings.drain_delay, settings.grace, settings.message) == (1.0, 12.0, "argument")
    assert settings.listen == Settings().listen


def test_a_wrong_value_that_is_overridden_does_no_harm(file: Path) -> None:
    file.write_text("grace = 'x'")
    assert load_settings(file, environ={"PETSAGE_GRACE": "12"}).grace == 12.0
    assert load_settings(environ={"PETSAGE_GRACE": "x"}, grace=13).grace == 13.0


def test_the_environment_is_that_of_the_process_if_none_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PETSAGE_GRACE", "12")
    assert load_settings().grace == 12.0


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("GRACE", "10", 10.0),
        ("GRACE", "10.5", 10.5),
        ("GRACE", "1m30s", 90.0),
        ("MAX_WATCHERS", "7", 7),
        ("MAX_MESSAGE_SIZE", "4096", 4096),
        ("MAX_MESSAGE_SIZE", "1MiB", 1024**2),
        ("REFLECTION", "true", True),
        ("REFLECTION", "FALSE", False),
        ("REFLECTION", "1", True),
        ("REFLECTION", "0", False),
        ("MESSAGE", "5", "5"),
        ("VERSION", "1.10", "1.10"),
        ("INSTANCE", "true", "true"),
        ("MESSAGE", "${HOME}, sweet", "${HOME}, sweet"),
        ("MESSAGE", " a, b ", " a, b "),
        ("LISTEN", "a:1", ("a:1",)),
        ("LISTEN", "a:1, [::1]:2,", ("a:1", "[::1]:2")),
        ("LOG_LEVEL", "DEBUG", "DEBUG"),
    ],
)
def test_a_variable_is_read_as_the_type_of_its_setting(
    variable: str, text: str, value: object
) -> None:
    settings = load_settings(environ={f"PETSAGE_{variable}": text})
    assert getattr(settings, variable.lower()) == value


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("PETSAGE_SERVICE_HOST", "10.0.0.1"),
        ("PETSAGE_SERVICE_PORT", "50051"),
        ("PETSAGE_SERVICE_PORT_GRPC", "50051"),
        ("PETSAGE_PORT", "tcp://10.0.0.1:50051"),
        ("PETSAGE_PORT_50051_TCP", "tcp://10.0.0.1:50051"),
        ("PETSAGE_PORT_50051_TCP_PROTO", "tcp"),
        ("PETSAGE_PORT_50051_TCP_PORT", "50051"),
        ("PETSAGE_PORT_50051_TCP_ADDR", "10.0.0.1"),
        ("PETSAGE_PORT_53_UDP_ADDR", "10.0.0.1"),
        ("PETSAGE_GRPC_SERVICE_HOST", "10.0.0.1"),
        ("PETSAGE_GRPC_SERVICE_PORT", "50051"),
        ("PETSAGE_GRPC_SERVICE_PORT_HEALTH", "50051"),
        ("PETSAGE_GRPC_PORT", "tcp://10.0.0.1:50051"),
        ("PETSAGE_GRPC_PORT_50051_TCP", "tcp://10.0.0.1:50051"),
        ("PETSAGE_GRPC_PORT_50051_TCP_ADDR", "10.0.0.1"),
    ],
)
def test_what_kubernetes_sets_for_a_service_called_petsage_is_no_setting(
    variable: str, text: str
) -> None:
    assert load_settings(environ={variable: text}) == Settings()

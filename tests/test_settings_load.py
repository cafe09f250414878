"""What is wrong with the settings is said in one line: where it stands, what it is, the mend."""

import os
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from petsage_grpc._gen.petsage.v1 import smoke_test_pb2
from petsage_grpc.checks import KINDS
from petsage_grpc.checks.disk import DiskCheck
from petsage_grpc.checks.log import LogCheck
from petsage_grpc.core.check import Check
from petsage_grpc.core.policy import Policy
from petsage_grpc.core.units import Duration, Size
from petsage_grpc.errors import SettingsError
from petsage_grpc.settings import Settings
from petsage_grpc.settings_load import fields_of, load_settings

LISTEN = 'write it like "127.0.0.1:50051", "[::1]:50051" or "unix:/run/petsage.sock"'
NO_DURATION = 'is not a duration: write seconds, or "500ms", "10s", "2m"'
NO_DURATION_TEXT = 'is not a duration: write it like "500ms", "10s" or "1m30s"'
NO_SIZE = 'is not a size: write bytes, or "64MiB"'
NO_SIZE_TEXT = 'is not a size: write it like "64MiB", "1.5GB" or 4096'
NO_STRING = "is not a string: put it in quotes"
NO_LIST = "is not a list: put it in [ ]"
NO_TABLE = "is not a table: write its name in [ ] above its settings"
NO_SUCH = "no such setting; petsage-grpc checks lists them all"
NO_NAME = (
    "is no name for a check: write at most 63 letters, digits, '.', '_' and '-', a letter or digit"
    " first"
)
NAME_IT = "name a file that this user can read"
KIND_NAMES = ", ".join([*KINDS, "fussy"])
SECRET = "hunter2-hunter2"


@dataclass(kw_only=True)
class FussyCheck(Check):
    """A kind with a setting of every type, whose errors repeat what it was given."""

    outside: ClassVar[bool] = True

    url: str
    port: int = 0
    ratio: float = 0.5
    verify: bool = True
    pause: Duration | None = None
    most: Size = field(default=Size(0))
    hosts: tuple[str, ...] = ()
    codes: tuple[int, ...] = (200,)
    headers: Mapping[str, str] = field(default_factory=dict)
    asked: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        if "bad" in self.url:
            raise ValueError(f"url: can not ask\n{self.url}")
        if self.url.startswith("worse"):
            raise ValueError(f"can not ask {self.url}")
        if "bad" in self.hosts:
            raise ValueError(f"hosts must not be {', '.join(self.hosts)}")
        if "Bad" in self.headers:
            raise ValueError(f"headers: {dict(self.headers)['Bad']} is bad")

    async def run(self) -> None:
        """Pass."""


@pytest.fixture(autouse=True)
def fussy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "fussy", f"{__name__}:{FussyCheck.__name__}")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings file, named as somebody does who stands in its directory."""
    monkeypatch.chdir(tmp_path)
    return Path("petsage.toml")


def refusal(path: Path | None, environ: Mapping[str, str] | None = None, **overrides: Any) -> str:
    """What is said of settings that can not be loaded; always one line, and nothing behind it."""
    with pytest.raises(SettingsError) as caught:
        load_settings(path, environ=environ or {}, **overrides)
    assert caught.value.exit_code == 2
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    line = str(caught.value)
    assert line.isprintable()
    return line


def named(*cases: tuple[Any, ...]) -> list[Any]:
    """Parameters of a test, each of whose cases opens with its name."""
    return [pytest.param(*case[1:], id=case[0]) for case in cases]


def disk(text: str) -> str:
    return f'[checks.disk]\nkind = "disk"\n{text}\n'


def ask(text: str) -> str:
    return f'[checks.ask]\nkind = "fussy"\n{text}\n'


# What stands in the file.


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
        ("unknown details", "details = 'some'", "details: 'some' is none of never, always"),
        (
            "a level in small letters",
            "log_level = 'info'",
            "log_level: 'info' is none of DEBUG, INFO, WARNING, ERROR",
        ),
        ("a number for the checks", "checks = 5", f"checks: 5 {NO_TABLE}"),
        ("a list of checks", "checks = ['disk']", f"checks: a list {NO_TABLE}"),
        ("a number for a check", "checks.disk = 5", f"checks.disk: 5 {NO_TABLE}"),
        (
            "a check without a kind",
            "[checks.disk]",
            f"checks.disk.kind: must be set: the kinds are {KIND_NAMES}",
        ),
        ("a number for a kind", "[checks.disk]\nkind = 5", f"checks.disk.kind: 5 {NO_STRING}"),
        (
            "an unknown kind that resembles a known one",
            "[checks.my-disk]\nkind = 'dsik'",
            "checks.my-disk.kind: there is no kind 'dsik'; did you mean disk?",
        ),
        (
            "an unknown kind that resembles none",
            "[checks.a]\nkind = 'x'",
            f"checks.a.kind: there is no kind 'x'; the kinds are {KIND_NAMES}",
        ),
        (
            "a name that no check can have",
            "[checks.'my disk']\nkind = 'disk'",
            f'checks."my disk": {NO_NAME}',
        ),
        (
            "a name that is too long for a check",
            f"[checks.{'a' * 64}]\nkind = 'disk'",
            f"checks.{'a' * 64}: {NO_NAME}",
        ),
        (
            "an unknown setting of a check that resembles one of its kind",
            disk("directori = '/'"),
            "checks.disk.directori: no such setting; did you mean directory?",
        ),
        (
            "an unknown setting of a check that resembles one of every check",
            disk("intervall = 1"),
            "checks.disk.intervall: no such setting; did you mean interval?",
        ),
        (
            "an unknown setting of a check that resembles none",
            disk("foo = 1"),
            f"checks.disk.foo: {NO_SUCH}",
        ),
        (
            "a setting of another kind of check",
            disk("logger = 'a'"),
            f"checks.disk.logger: {NO_SUCH}",
        ),
        (
            "an interval of nothing",
            disk("interval = 0"),
            "checks.disk.interval: must be longer than 0",
        ),
        (
            "a boolean for an interval",
            disk("interval = true"),
            f"checks.disk.interval: true {NO_DURATION}",
        ),
        ("a fraction for fall", disk("fall = 1.0"), "checks.disk.fall: 1.0 is not a whole number"),
        ("no pass for rise", disk("rise = 0"), "checks.disk.rise: must be at least 1"),
        (
            "a jitter of a whole interval",
            disk("jitter = 1"),
            "checks.disk.jitter: must be at least 0 and below 1",
        ),
        (
            "a jitter that is no number",
            disk("jitter = nan"),
            "checks.disk.jitter: nan is not a number",
        ),
        (
            "a string for a jitter",
            disk("jitter = '10%'"),
            "checks.disk.jitter: '10%' is not a number",
        ),
        (
            "a boolean for a jitter",
            disk("jitter = true"),
            "checks.disk.jitter: true is not a number",
        ),
        (
            "a boolean for a duration that need not be set",
            disk("stale_after = false"),
            f"checks.disk.stale_after: false {NO_DURATION}",
        ),
        (
            "results that go stale between two runs",
            disk("stale_after = 12"),
            (
                "checks.disk.stale_after: must be longer than an interval and the"
                " timeout (12s), or a healthy check would go stale between two runs"
            ),
        ),
        (
            "a misspelt gate",
            disk("gates = ['readyness']"),
            "checks.disk.gates: 'readyness' is none of readiness, liveness, startup",
        ),
        ("a number for gates", disk("gates = 1"), f"checks.disk.gates: 1 {NO_LIST}"),
        ("a number for a gate", disk("gates = [1]"), f"checks.disk.gates: 1 {NO_STRING}"),
        (
            "a setting that the kind itself refuses",
            disk("directory = ''"),
            "checks.disk.directory: '' is no path: write it like \"/tmp\"",
        ),
        (
            "a check with a dot in its name",
            '[checks."my.disk"]\nkind = "disk"\nfall = 0',
            'checks."my.disk".fall: must be at least 1',
        ),
        ("a setting of a kind that must be set", ask("port = 1"), "checks.ask.url: must be set"),
        (
            "a field of a kind that is no setting",
            ask("url = ''\nasked = 1"),
            f"checks.ask.asked: {NO_SUCH}",
        ),
        (
            "a wrong number in a list of a kind",
            ask("url = ''\ncodes = [200, '204']"),
            "checks.ask.codes: '204' is not a whole number",
        ),
        (
            "a wrong value in a table of a kind",
            ask("url = ''\nheaders.Host = 5"),
            f"checks.ask.headers.Host: 5 {NO_STRING}",
        ),
        ("what a kind says in two lines", ask("url = 'bad'"), "checks.ask.url: can not ask\\nbad"),
        ("what a kind says without a key", ask("url = 'worse'"), "checks.ask: can not ask worse"),
        (
            "liveness gated by what is outside",
            ask("url = ''\ngates = ['liveness']"),
            (
                "checks.ask.gates: a check that reaches outside can not gate liveness: it would"
                " restart every replica when the dependency dies"
            ),
        ),
        ("a number for the groups", "groups = 5", f"groups: 5 {NO_TABLE}"),
        ("a list of groups", "groups = ['a']", f"groups: a list {NO_TABLE}"),
        ("a number for a group", "groups.a = 5", f"groups.a: 5 {NO_LIST}"),
        ("a number in a group", "groups.a = [5]", f"groups.a: 5 {NO_STRING}"),
        (
            "a group with an unknown check",
            "[groups]\n'petsage.v1.Orders' = ['disk', 'ledger']",
            "groups.\"petsage.v1.Orders\": there is no check 'ledger'; there are: disk, log",
        ),
        *(
            (
                f"a group of the reserved name {name}",
                f"[groups]\n{name} = ['disk']",
                f"groups.{name}: the service sets this name itself: choose another",
            )
            for name in ('""', "readiness", "liveness", "startup")
        ),
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


# What stands in the environment, and in arguments.


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


# Secrets.


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


# What is right.


def checked(settings: Settings, name: str = "ask") -> FussyCheck:
    check = settings.checks[name].check
    assert isinstance(check, FussyCheck)
    return check


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


def test_a_file_without_checks_keeps_those_of_the_defaults(file: Path) -> None:
    file.write_text("[groups]\nboth = ['disk', 'log']")
    settings = load_settings(file, environ={})
    assert list(settings.checks) == ["disk", "log"]
    assert settings.groups == {"both": ("disk", "log")}


def test_a_file_with_checks_has_only_those(file: Path) -> None:
    file.write_text("[checks.'spool.1']\nkind = 'disk'\n")
    assert list(load_settings(file, environ={}).checks) == ["spool.1"]


def test_a_file_can_do_without_any_check(file: Path) -> None:
    file.write_text("[checks]")
    assert load_settings(file, environ={}).checks == {}


def test_the_settings_of_a_check_go_to_its_policy_and_to_its_kind(file: Path) -> None:
    file.write_text(
        "[checks.spool]\nkind = 'disk'\ndirectory = '/var/spool'\nmin_free = '1GB'\n"
        "interval = '1m'\nstale_after = '5m'\ngates = []\n[checks.out]\nkind = 'log'\nlogger = 'a'"
    )
    checks = load_settings(file, environ={}).checks
    assert checks["spool"].check == DiskCheck(directory="/var/spool", min_free=Size(10**9))
    assert checks["spool"].policy == Policy(
        interval=Duration(60.0), stale_after=Duration(300.0), gates=()
    )
    assert (checks["out"].kind, checks["out"].check) == ("log", LogCheck(logger="a"))
    assert checks["out"].policy == Policy()


def test_a_kind_can_have_settings_of_every_type(file: Path) -> None:
    file.write_text(
        ask(
            "url = 'a'\nport = 1\nratio = 1\nverify = false\npause = '1s'\nmost = '1KiB'\n"
            "hosts = 'b'\ncodes = [200, 204]\nheaders = {Host = 'c'}"
        )
    )
    check = checked(load_settings(file, environ={}))
    assert check == FussyCheck(
        url="a", port=1, ratio=1.0, verify=False, pause=Duration(1.0), most=Size(1024),
        hosts=("b",), codes=(200, 204), headers={"Host": "c"},
    )  # fmt: skip
    assert isinstance(check.ratio, float)


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


def test_the_fields_of_a_kind_are_told_with_type_default_and_help() -> None:
    told = {name: (hint, default) for name, hint, default, _ in fields_of(FussyCheck)}
    assert told["url"] == (str, MISSING)
    assert told["pause"] == (Duration, None)
    assert told["headers"] == (Mapping[str, str], {})
    assert "asked" not in told
    assert "outside" not in told


def test_a_kind_without_settings_is_a_mistake_of_its_developer() -> None:
    with pytest.raises(TypeError, match=r"^Check is no dataclass, so it has no settings$"):
        list(fields_of(Check))


def test_a_variable_that_is_not_utf_8_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ={"PETSAGE_MESSAGE": "\udcff"})
    assert str(caught.value) == "PETSAGE_MESSAGE: it is not UTF-8: write it so"
    path = tmp_path / "petsage.toml"
    path.write_text('message = "${NAME}"\n')
    with pytest.raises(SettingsError) as caught:
        load_settings(path, environ={"NAME": "\udcff"})
    assert str(caught.value) == f"{path}: message: ${{NAME}}: it is not UTF-8: write it so"

"""Checks and groups of the file are made as it says, or refused with the place and the mend."""

from collections.abc import Mapping
from dataclasses import MISSING
from pathlib import Path

import pytest

from petsage_grpc.checks.disk import DiskCheck
from petsage_grpc.checks.log import LogCheck
from petsage_grpc.core.check import Check
from petsage_grpc.core.policy import Policy
from petsage_grpc.core.units import Duration, Size
from petsage_grpc.settings_load import fields_of, load_settings
from tests.settings.conftest import (
    KIND_NAMES,
    NO_DURATION,
    NO_LIST,
    NO_NAME,
    NO_STRING,
    NO_SUCH,
    NO_TABLE,
    FussyCheck,
    ask,
    checked,
    disk,
    named,
    refusal,
)


@pytest.mark.parametrize(
    ("text", "line"),
    named(
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
    ),
)
def test_the_file_is_refused_with_the_place_and_the_mend(file: Path, text: str, line: str) -> None:
    file.write_text(text)
    assert refusal(file) == f"{file}: {line}"


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

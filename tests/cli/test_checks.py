"""`checks` tells all that can be set, and says in one line what is wrong with a settings file."""

import dataclasses
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from petsage_grpc.checks import KINDS, load_kind
from petsage_grpc.cli import main
from petsage_grpc.core.check import Check
from petsage_grpc.core.policy import Policy
from petsage_grpc.core.units import Size, parse_size
from petsage_grpc.settings import Settings
from petsage_grpc.settings_load import TABLES, fields_of
from tests.processes import run

WIDTH = 80
EXAMPLE = Path(__file__).parents[2] / "petsage.toml"


@dataclass(kw_only=True)
class AskingCheck(Check):
    """Fails when nobody answers."""

    address: str = field(metadata={"help": "whom to ask"})
    headers: Mapping[str, str] = field(
        default_factory=dict, metadata={"help": "what is sent with " + "many words " * 9}
    )
    codes: tuple[int, ...] = (200, 204)

    async def run(self) -> None:
        """Pass."""


@pytest.fixture(autouse=True)
def no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("PETSAGE_")]:
        monkeypatch.delenv(variable)


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "asking", f"{__name__}:{AskingCheck.__name__}")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("petsage.toml")


def blocks(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What is listed, by the line above it."""
    assert main(["checks"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return {block.partition("\n")[0]: block for block in out.split("\n\n")}


def read_back(shown: str, hint: Any) -> object:
    if shown == "(must be set)":
        return dataclasses.MISSING
    if shown == "(not set)":
        return None
    value = tomllib.loads(f"value = {shown}")["value"]
    if hint is Size and isinstance(value, str):
        return parse_size(value)
    return tuple(value) if isinstance(value, list) else value


def test_it_lists_every_kind_with_what_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    listed = blocks(capsys)
    assert list(listed) == [
        "the service", *(f'kind = "{kind}"' for kind in KINDS), "every check also has",
        "[features.NAME] can have, for each feature",
    ]  # fmt: skip
    for kind in KINDS:
        what = (load_kind(kind).__doc__ or "").partition("\n")[0]
        assert what
        assert what in " ".join(listed[f'kind = "{kind}"'].split())


@pytest.mark.parametrize(
    "above", ["the service", "every check also has", *(f'kind = "{kind}"' for kind in KINDS)]
)
def test_it_lists_every_setting_with_its_default_and_its_help(
    capsys: pytest.CaptureFixture[str], above: str
) -> None:
    classes: dict[str, type] = {"the service": Settings, "every check also has": Policy}
    cls = classes[above] if above in classes else load_kind(above.split('"')[1])
    block = blocks(capsys)[above]
    for name, hint, default, text in fields_of(cls):
        if name in TABLES:
            continue
        shown = re.search(rf"^  {name} = (.+)  \((.+)\)$", block, re.MULTILINE)
        assert shown, name
        assert read_back(shown[1], hint) == default
        assert text
        assert text in " ".join(block.split())


@pytest.mark.parametrize(
    "line",
    [
        '  listen = ["127.0.0.1:50051"]  (list of strings)',
        "  drain_delay = 5  (duration)",
        '  message = "PetSage Backend is awake and purring!"  (string)',
        "  reflection = true  (true/false)",
        "  max_watchers = 20000  (whole number)",
        '  max_message_size = "16KiB"  (size)',
        '  min_free = "64MiB"  (size)',
        "  jitter = 0.1  (number)",
        "  stale_after = (not set)  (duration)",
        '  gates = ["readiness", "startup"]  (list of strings)',
        "  address = (must be set)  (string)",
        "  headers = {}  (table of strings)",
        "  codes = [200, 204]  (list of whole numbers)",
    ],
)
@pytest.mark.usefixtures("asking")
def test_it_writes_a_default_as_toml_with_its_type(
    capsys: pytest.CaptureFixture[str], line: str
) -> None:
    assert line in "\n".join(blocks(capsys).values()).splitlines()


@pytest.mark.usefixtures("asking")
def test_no_line_of_the_list_is_longer_than_a_terminal_is_wide(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for block in blocks(capsys).values():
        assert [line for line in block.splitlines() if len(line) > WIDTH] == []
        assert [line for line in block.splitlines() if line != line.rstrip()] == []


def test_no_line_of_the_help_is_longer_than_a_terminal_is_wide(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["checks", "--help"])
    assert caught.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "usage: petsage-grpc checks [-h] [-c FILE]"
    assert lines[-1] == "exit codes: 0 all is right, 2 bad settings or arguments"
    assert [line for line in lines if len(line) > WIDTH] == []


def test_a_right_file_is_told_with_what_it_checks(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(
        "[checks.spool]\nkind = 'disk'\ninterval = '500ms'\n"
        "[checks.out]\nkind = 'log'\ngates = []\n"
        "[groups]\n'petsage.v1.Orders' = ['spool', 'out']\n"
    )
    assert main(["checks", "--config", str(file)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines() == [
        "petsage.toml: all is right",
        "  check spool (disk) every 500ms gates readiness, startup",
        "  check out (log) every 10s gates nothing (reported only)",
        '  group "petsage.v1.Orders": spool, out',
    ]


def test_a_file_that_opens_the_port_to_all_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "open.toml"
    file.write_text('listen = "0.0.0.0:50051"\n')
    assert main(["checks", "--config", str(file)]) == 0
    told = capsys.readouterr().out
    assert "  WARNING listen: 0.0.0.0:50051 answers without TLS whoever can reach it" in told


def test_the_example_file_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checks", "-c", str(EXAMPLE)]) == 0
    assert capsys.readouterr().out.startswith(f"{EXAMPLE}: all is right\n")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("grace = 3", "grace: must be more than drain_delay (5s)"),
        ("listen = [", "not valid TOML: "),
        ("[checks.a]\nkind = 'dsik'", "checks.a.kind: there is no kind 'dsik'; did you mean disk?"),
        ("[checks.a]\nkind = 'disk'\nfall = 0", "checks.a.fall: must be at least 1"),
        (None, "can not be read: No such file or directory"),
    ],
    ids=["a contradiction", "no TOML", "an unknown kind", "a setting of a check", "no file"],
)
def test_a_wrong_file_is_exit_2_and_one_line(
    file: Path, capsys: pytest.CaptureFixture[str], text: str | None, wrong: str
) -> None:
    if text is not None:
        file.write_text(text)
    assert main(["checks", "--config", str(file)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"petsage-grpc checks: {file}: {wrong}")
    assert err.count("\n") == 1
    assert err.endswith("\n")


def test_a_wrong_variable_is_exit_2_and_one_line_as_well(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file.touch()
    monkeypatch.setenv("PETSAGE_GRACE", "3")
    assert main(["checks", "--config", str(file)]) == 2
    expected = "petsage-grpc checks: PETSAGE_GRACE: must be more than drain_delay (5s)\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (["--config"], "argument -c/--config: expected one argument"),
        (["--confg", "a"], "unrecognized arguments: --confg a"),
        (["petsage.toml"], "unrecognized arguments: petsage.toml"),
    ],
    ids=["an option without its value", "an unknown option", "a file without its option"],
)
def test_a_wrong_argument_is_exit_2_and_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], wrong: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["checks", *arguments])
    assert caught.value.code == 2
    expected = f"petsage-grpc checks: {wrong}; petsage-grpc checks --help says more\n"
    assert capsys.readouterr() == ("", expected)


def test_as_a_process_it_ends_with_its_exit_code_and_without_a_traceback(file: Path) -> None:
    file.write_text("grace = 30")
    right = run("checks", "--config", str(file))
    assert (right.returncode, right.stderr) == (0, "")
    file.write_text("grace = 3")
    wrong = run("checks", "--config", str(file))
    assert (wrong.returncode, wrong.stdout) == (2, "")
    expected = "petsage-grpc checks: petsage.toml: grace: must be more than drain_delay (5s)\n"
    assert wrong.stderr == expected


def test_it_warns_of_a_heartbeat_that_serve_would_refuse(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text('[checks.worker]\nkind = "heartbeat"\n')
    assert main(["checks", "--config", str(file)]) == 0
    told = capsys.readouterr().out
    assert "  WARNING checks.worker: nobody beats: let a feature call" in told
    assert "serve refuses it, and an application with a plane may beat it\n" in told

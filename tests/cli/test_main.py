"""The command line as a whole: its verbs, its help and its mistakes."""

import os
import subprocess
from pathlib import Path

import pytest

from petsage_grpc.cli import VERBS, main
from tests.processes import PATIENCE, PETSAGE, clean_environment, run, started


@pytest.mark.parametrize("arguments", [[], *([verb] for verb in VERBS)], ids=["all", *VERBS])
def test_help_reads_well_at_80_columns(arguments: list[str]) -> None:
    ended = run(*arguments, "--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert all(len(line) <= 80 for line in ended.stdout.splitlines())
    assert ended.stdout.startswith("usage: petsage-grpc ")


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"  {verb} " in said and text in said for verb, text in VERBS.items())


@pytest.mark.parametrize(("arguments", "problem"), [([], "which verb?"), (["sreve"], "'sreve'")])
def test_a_verb_that_does_not_exist_is_exit_2_and_one_line(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert problem in said
    assert "serve, probe, smoke, wait, checks" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["checks"], ["serve", "-h"]])
def test_output_that_nobody_takes_is_no_traceback(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with started(*arguments, stdout=writing, stderr=subprocess.PIPE) as process:
        assert process.communicate(timeout=PATIENCE)[1] == ""
        assert process.returncode == 74
    os.close(writing)
    with Path("/dev/full").open("w") as full:
        pipe = subprocess.PIPE
        with started(*arguments, stdout=full.fileno(), stderr=pipe) as process:
            said = process.communicate(timeout=PATIENCE)[1]
        assert said == "petsage-grpc: the system refuses: No space left on device\n"


@pytest.mark.parametrize(
    "arguments",
    [["serve", "--bogus"], ["serve", "--config", "/none"], ["smoke", "127.0.0.1:1"], ["bogus"]],
)
def test_an_error_that_can_not_be_written_has_the_same_code(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full, started(*arguments, stderr=full.fileno()) as process:
        assert process.wait(PATIENCE) == 74


@pytest.mark.parametrize("arguments", [["--version"], ["checks"], ["bogus"], ["probe"]])
def test_closed_standard_streams_are_no_traceback(arguments: list[str], tmp_path: Path) -> None:
    command = " ".join([*PETSAGE, *arguments])
    ended = subprocess.run(
        ["sh", "-c", f"{command} >&- 2>{tmp_path}/said; {command} >&- 2>&-"],
        capture_output=True, text=True, timeout=PATIENCE, check=False, env=clean_environment(),
    )  # fmt: skip
    assert ended.stderr == ""
    assert "Traceback" not in (tmp_path / "said").read_text()

"""The command line as a whole: its verbs, its help and its mistakes."""

import pytest

from petsage_grpc.cli import VERBS, main
from tests.processes import run


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

"""The tables of the README say what the code does."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from petsage_grpc.checks import KINDS
from petsage_grpc.cli import VERBS, probe, smoke
from petsage_grpc.errors import BindError, SettingsError
from tests.processes import python, served

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def table(heading: str, number: int = 0) -> list[list[str]]:
    """Read the rows of a table below a heading, without its own heading."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    tables = re.findall(r"(?:^\|.*\n)+", section, flags=re.MULTILINE)
    rows = [line.strip("|\n").split("|") for line in tables[number].splitlines()]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def test_the_verbs_are_those_of_the_command_line() -> None:
    assert [row[0].strip("`").split()[0] for row in table("Commands")] == list(VERBS)


def test_the_exit_codes_are_those_of_the_code() -> None:
    codes = {row[0]: row[1:] for row in table("Commands", 1)}
    assert list(codes) == ["0", "1", "2", "3", "4", "5"]
    assert (probe.SERVING, probe.ARGUMENTS, probe.CONNECT) == (0, 1, 2)
    assert (probe.RPC, probe.NOT_SERVING, smoke.DEGRADED) == (3, 4, 5)
    assert (SettingsError.exit_code, BindError.exit_code) == (2, 3)


def test_every_kind_of_check_is_in_the_table_with_what_it_needs() -> None:
    rows = {row[0].strip("`"): row[2] for row in table("Checks")}
    assert list(rows) == list(KINDS)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {extra for cell in rows.values() for extra in re.findall(r"\[(\w+)\]", cell)}
    assert extras == set(project["optional-dependencies"]) - {"all"}


def test_the_commands_of_the_readme_are_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for command in re.findall(r"`make ([a-z-]+)`|^make ([a-z-]+)", README, flags=re.MULTILINE):
        assert re.search(rf"^{''.join(command)}:", makefile, flags=re.MULTILINE)


def example(containing: str) -> str:
    """Find the one example in Python that has this in it."""
    found = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    (code,) = [code for code in found if containing in code]
    return str(code)


def test_the_example_in_python_prints_what_it_should(capsys: pytest.CaptureFixture[str]) -> None:
    code = example("insecure_channel")
    with served() as process:
        process.wait_for("check disk is passing")
        process.wait_for("check log is passing")
        exec(code.replace("127.0.0.1:50051", process.address))
    assert capsys.readouterr().out == "True PetSage Backend is awake and purring!\n"


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_the_lines_that_embed_a_plane_need_no_more_to_be_ready(isolation: str) -> None:
    code = example("HealthPlane").replace("50051", "0").replace('"thread"', repr(isolation))
    waiting = (
        "import subprocess, sys\n"
        "def serve():\n"
        "    wait = [sys.executable, '-m', 'petsage_grpc', 'wait', plane.address]\n"
        "    print(subprocess.run(wait, check=False).returncode)\n"
    )
    ran = python(waiting + code)
    assert ran.stdout.splitlines()[-1] == "0", ran.stderr


DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md"),
     *ROOT.glob("examples/*/*.md")]
)  # fmt: skip


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_links_to_is_there(document: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
        assert (document.parent / link).exists(), link


def test_the_figures_are_those_that_were_measured() -> None:
    measured = json.loads((ROOT / "benchmarks/results.json").read_text())["rows"]
    assert table("Speed") == [
        [
            row["figure"], row["unit"], row["against"], f"{row['reference']:.4g}",
            f"{row['ours']:.4g}", f"{row['ratio']:.2f}", row["target"] or "-",
        ]
        for row in measured
    ]  # fmt: skip

"""`smoke` against a real service: the table, the JSON and the exit codes."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from petsage_grpc import HealthPlane
from tests.processes import Served, run, served, settings_file


@pytest.fixture(scope="module")
def well() -> Iterator[Served]:
    with served(PETSAGE_INSTANCE="pod-3", PETSAGE_VERSION="7.1") as process:
        process.wait_for("check disk is passing")
        process.wait_for("check log is passing")
        yield process


@pytest.fixture(
    params=[("gates = []", 0), ('gates = ["readiness"]', 4)], ids=["degraded", "failing"]
)
def unwell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Served, int]]:
    """A service of which one check fails, and the exit code that this means."""
    gates, code = request.param
    config = settings_file(
        tmp_path, 'details = "always"', "[checks.orders-disk]", 'kind = "disk"',
        'directory = "/no/such/directory"', gates,
    )  # fmt: skip
    with served("--config", str(config)) as process:
        process.wait_for("check orders-disk is failing")
        yield process, code


def test_it_shows_every_check_in_a_table(well: Served) -> None:
    ended = run("smoke", well.address)
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert lines[0] == "PetSage Backend is awake and purring!"
    assert lines[1].startswith("OK  feature smoke_test  version 7.1  instance pod-3  up ")
    assert lines[3].split() == [
        "CHECK", "STATUS", "AGE", "LATENCY", "FAILURES", "GATES", "MESSAGE",
    ]  # fmt: skip
    for line, name in zip(lines[4:], ["disk", "log"], strict=True):
        assert re.fullmatch(
            rf'{name} +OK +\S+s +\S+s +0 +"", readiness, startup, \S+SmokeTestService +-', line
        )


def test_it_prints_json(well: Served) -> None:
    ended = run("smoke", well.address, "--json", "--check", "log", "--max-age", "0")
    answer = json.loads(ended.stdout)
    assert ended.returncode == 0
    assert (answer["status"], answer["feature"]) == ("STATUS_OK", "smoke_test")
    assert [check["name"] for check in answer["checks"]] == ["log"]
    assert answer["checks"][0]["consecutiveFailures"] == 0


def test_what_is_wrong_is_shown_and_is_the_exit_code(unwell: tuple[Served, int]) -> None:
    process, code = unwell
    ended = run("smoke", process.address)
    assert ended.returncode == code
    assert "orders-disk  FAILING" in ended.stdout
    assert "/no/such/directory" in ended.stdout
    strict = run("smoke", process.address, "--strict")
    assert strict.returncode == (code or 5)


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        pytest.param([], 1, "the following arguments are required: ADDR", id="no address"),
        pytest.param(["{}", "--jsno"], 1, "unrecognized arguments: --jsno", id="unknown flag"),
        pytest.param(["{}", "--max-age", "-1s"], 1, "--max-age", id="negative age"),
        pytest.param(["{}", "--max-age", "1d"], 1, "'1d' is not a duration", id="no duration"),
        pytest.param(["{}", "--tls-ca-cert", "/ca.pem"], 1, "add --tls", id="TLS flag without TLS"),
        pytest.param(
            ["{}", "--tls", "--tls-ca-cert", "/no/ca.pem"], 1, "/no/ca.pem", id="no such file"
        ),
        pytest.param(["{}", "--max-age", "9" * 20 + "s"], 1, "more than a year", id="huge age"),
        pytest.param(["{}", "--timeout", "0"], 1, "longer than 0", id="no time"),
        pytest.param(["{}", "--feature", "\udcff"], 1, "not UTF-8", id="feature not UTF-8"),
        pytest.param(["{}", "--check", "\udcff"], 1, "not UTF-8", id="check not UTF-8"),
        pytest.param(["127.0.0.1:1"], 2, "connection refused", id="nobody listens"),
        pytest.param(["127.0.0.1"], 1, "the port is missing", id="no port"),
        pytest.param(["{}", "--tls"], 2, "does not speak TLS", id="TLS against plaintext"),
        pytest.param(
            ["{}", "--feature", "x"], 3, 'NOT_FOUND: unknown feature "x"', id="unknown feature"
        ),
        pytest.param(["{}", "--check", "x"], 3, 'NOT_FOUND: unknown check "x"', id="unknown check"),
    ],
)
def test_a_mistake_is_one_line_and_its_exit_code(
    well: Served, arguments: list[str], code: int, line: str
) -> None:
    ended = run("smoke", *(argument.format(well.address) for argument in arguments))
    assert (ended.returncode, ended.stdout) == (code, "")
    assert line in ended.stderr
    assert ended.stderr.startswith("petsage-grpc smoke: ")
    assert ended.stderr.count("\n") == 1


def test_what_is_said_of_the_names_is_shown_below_the_checks() -> None:
    checks: dict[str, object] = {}
    with HealthPlane.from_settings(listen="127.0.0.1:0", checks=checks, details="always") as plane:
        plane.set("readiness", serving=False, reason="migrating", ttl=10_000)
        plane.set("mine", serving=True)
        plane.set("liveness", serving=False, reason="a\nb")
        ended = run("smoke", plane.address)
    assert ended.returncode == 4
    *_, liveness, mine, readiness = sorted(ended.stdout.splitlines())
    assert liveness == r"liveness is set NOT_SERVING (by its checks: SERVING): a\nb"
    assert mine == "mine is set SERVING"
    assert re.fullmatch(
        r"readiness is set NOT_SERVING for (9\d{3}|10000)s more \(by its checks: SERVING\):"
        " migrating",
        readiness,
    )

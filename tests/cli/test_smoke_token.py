"""`smoke --token-file` against a service that wants one; and the token is in no line of either."""

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import StreamEnded

from tests.processes import PATIENCE, PETSAGE, Served, clean_environment, run, served, settings_file

TOKEN, OTHER, WRONG = "0ld-0123456789abcdef", "n3w-0123456789abcdef", "wr0ng-0123456789abcdef"
NOWHERE = "/no/such/directory"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files with tokens; that of the service has two."""
    folder = tmp_path_factory.mktemp("tokens")
    for name, text in (("both", f"{TOKEN}\n{OTHER}\n"), ("other", OTHER), ("wrong", WRONG)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    return folder


@pytest.fixture(scope="module")
def guarded(folder: Path) -> Iterator[Served]:
    """A service that logs all there is to log, and of which one check fails."""
    config = settings_file(
        folder, 'log_level = "DEBUG"', f'token_files = ["{folder / "both"}"]',
        "[checks.orders]", 'kind = "disk"', f'directory = "{NOWHERE}"',
    )  # fmt: skip
    with served("--config", str(config)) as process:
        process.wait_for("check orders is failing")
        yield process


@pytest.mark.parametrize("name", ["both", "other"])
def test_with_a_token_of_the_service_it_says_why_a_check_fails(
    guarded: Served, folder: Path, name: str
) -> None:
    ended = run("smoke", guarded.address, "--token-file", str(folder / name))
    assert (ended.returncode, ended.stderr) == (4, "")
    assert NOWHERE in ended.stdout


def test_without_a_token_it_says_only_that_one_fails(guarded: Served) -> None:
    ended = run("smoke", guarded.address)
    assert ended.returncode == 4
    assert "orders  FAILING" in ended.stdout
    assert NOWHERE not in ended.stdout
    assert "refused" not in ended.stdout


def test_it_reads_the_token_from_standard_input(guarded: Served) -> None:
    ended = subprocess.run(
        [*PETSAGE, "smoke", guarded.address, "--token-file", "-"], input=f"{OTHER}\n", text=True,
        capture_output=True, timeout=PATIENCE, check=False, env=clean_environment(),
    )  # fmt: skip
    assert ended.returncode == 4
    assert NOWHERE in ended.stdout


def test_it_reads_the_token_from_a_pipe_of_the_shell(guarded: Served, folder: Path) -> None:
    command = f'"$@" --token-file <(cat {folder / "other"})'
    ended = subprocess.run(
        ["bash", "-c", command, "bash", *PETSAGE, "smoke", guarded.address], text=True,
        capture_output=True, timeout=PATIENCE, check=False, env=clean_environment(),
    )  # fmt: skip
    assert ended.stderr == ""
    assert NOWHERE in ended.stdout


def test_a_wrong_token_is_one_line_and_counted(guarded: Served, folder: Path) -> None:
    for _ in range(2):
        ended = run("smoke", guarded.address, "--token-file", str(folder / "wrong"))
        assert (ended.returncode, ended.stdout) == (3, "")
        assert ended.stderr == (
            "petsage-grpc smoke: UNAUTHENTICATED: the bearer token is none of those in"
            " token_files\n"
        )
    right = ("smoke", guarded.address, "--token-file", str(folder / "both"))
    assert run(*right).stdout.endswith("\n\nrefused since the start, by limit: token_files 2\n")
    assert json.loads(run(*right, "--json").stdout)["refused"] == {"token_files": "2"}
    lines = [line for line in guarded.lines if "wrong tokens" in line]
    assert len(lines) == 1
    assert "refused 1 wrong tokens, the last of 127.0.0.1: token_files = " in lines[0]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "has no token in it"),
        (b"hunter2", "line 1 has 7 characters"),
        (b"\xff", "line 1 is not UTF-8"),
        (b"Bearer hunter2-hunter2-hunter2", "line 1 is no token"),
        (None, "can not be read: No such file or directory"),
    ],
)
def test_a_bad_file_is_one_line_without_what_is_in_it(
    folder: Path, content: bytes | None, line: str
) -> None:
    path = folder / "bad"
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)
    ended = run("smoke", "127.0.0.1:1", "--token-file", str(path))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert f"argument --token-file: {str(path)!r} {line}" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert "hunter2" not in ended.stderr


def test_a_token_in_place_of_a_file_is_not_shown() -> None:
    ended = run("smoke", "127.0.0.1:1", "--token-file", TOKEN)
    assert ended.returncode == 1
    assert "argument --token-file: what stands there can not be read" in ended.stderr
    assert TOKEN not in ended.stderr


def send_raw(address: str, token: bytes) -> None:
    """Call SmokeTest and Check with a header that no gRPC library would send."""
    host, _, port = address.rpartition(":")
    connection = H2Connection(
        H2Configuration(header_encoding=None, validate_outbound_headers=False)
    )
    connection.initiate_connection()
    paths = [b"/petsage.v1.SmokeTestService/SmokeTest", b"/grpc.health.v1.Health/Check"]
    for number, path in enumerate(paths):
        headers = [
            (b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"x"),
            (b"te", b"trailers"), (b"content-type", b"application/grpc"),
            (b"authorization", b"Bearer " + token),
        ]  # fmt: skip
        connection.send_headers(2 * number + 1, headers)
        connection.send_data(2 * number + 1, bytes(5), end_stream=True)
    ended = 0
    with socket.create_connection((host, int(port)), PATIENCE) as sock:
        while ended < len(paths):
            sock.sendall(connection.data_to_send())
            events = connection.receive_data(sock.recv(65536))
            ended += sum(isinstance(event, StreamEnded) for event in events)


def test_a_header_that_is_no_text_is_in_no_line_of_the_log_either(guarded: Served) -> None:
    for _ in range(5):
        for ending in (b"\xff\xfe", "é".encode(), b"\0", b"\n"):
            send_raw(guarded.address, WRONG.encode() + ending)
    guarded.wait_for("a peer sent a header that is not UTF-8; it is not shown")
    text = "\n".join(guarded.lines)
    assert text.count("is not UTF-8") == 1
    assert WRONG not in text
    assert "Traceback" not in text


def test_no_token_is_in_a_line_of_the_log(guarded: Served, folder: Path) -> None:
    for name in ("both", "other", "wrong"):
        run("smoke", guarded.address, "--token-file", str(folder / name), "--max-age", "0")
    guarded.process.terminate()
    guarded.end()
    text = "\n".join(guarded.lines)
    assert " DEBUG " in text
    assert "authorization" not in text.lower()
    for token in (TOKEN, OTHER, WRONG):
        assert token not in text


def test_help_names_the_flag_and_no_token_is_taken_by_any_other() -> None:
    ended = run("smoke", "--help")
    assert "--token-file FILE" in ended.stdout
    assert "--token " not in ended.stdout

"""The flags of the verb `probe`, read as Go reads them, and the command lines it refuses."""

import pytest

from petsage_grpc import __version__
from petsage_grpc.cli import probe
from tests.cli.conftest import Health, Outcome, Run
from tests.rpc.client.raw_servers import http2, raw_server, replying


@pytest.mark.parametrize(
    "flags",
    [
        ["-addr={}"],
        ["--addr={}"],
        ["-addr", "{}"],
        ["--addr", "{}"],
        ["-addr={}", "--"],
        ["-addr=nowhere", "-addr={}"],
        ["-tls=false", "-addr={}", "-v=0", "-gzip=F"],
        ["-tls-no-verify=false", "-addr={}", "-tls-ca-cert="],
        ["-connect-timeout=1m0.5s", "-rpc-timeout", "1h2m3s4ms5us6ns", "-addr={}"],
        ["-connect-timeout=+1s", "-addr={}"],
        ["-addr={}", "-user-agent", "-service", "-service="],
    ],
    ids=" ".join,
)
def test_flags_are_read_as_go_reads_them(server: str, run: Run, flags: list[str]) -> None:
    assert run(*(flag.format(server) for flag in flags)) == Outcome(0, ["status: SERVING"])


A = "-addr=127.0.0.1:1"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "-addr not specified; write -addr=HOST:PORT"),
        (["-addr="], "-addr not specified; write -addr=HOST:PORT"),
        (["-addr"], "-addr needs a value; write -addr=VALUE"),
        (["-adr=x"], "unknown flag -adr; did you mean -addr?"),
        (["-spiffe"], "unknown flag -spiffe; -help lists the flags"),
        (["---addr=x"], "a flag has one dash or two and a name; write -flag=value"),
        (["-=x"], "a flag has one dash or two and a name; write -flag=value"),
        (["127.0.0.1:1"], '"127.0.0.1:1" belongs to no flag; leave it out'),
        ([""], '"" belongs to no flag; leave it out'),
        ([A, "--", "x"], '"--" belongs to no flag; leave it out'),
        ([A, "-"], "more follows the value of -addr; quote a value that has spaces"),
        ([A, "-tls", "true"], '"true" belongs to no flag; leave it out, or write -tls=true'),
        ([A, "-tls=yes"], '-tls is a switch, not "yes"; write -tls'),
        ([A, "-tls="], '-tls is a switch, not ""; write -tls'),
        ([A, "-rpc-timeout=5"], "-rpc-timeout: '5' is not a duration: write it like"),
        ([A, "-rpc-timeout=-1s"], "-rpc-timeout: '-1s' is not a duration: write it like"),
        ([A, "-rpc-timeout=0"], "-rpc-timeout: it must be longer than 0 and at most 24h, like 1s"),
        ([A, "-connect-timeout=0s"], "-connect-timeout: it must be longer than 0"),
        ([A, "-connect-timeout=25h"], "-connect-timeout: it must be longer than 0 and at most"),
        ([A, "-connect-timeout", "9" * 400 + "s"], "-connect-timeout: it must be longer than 0"),
        ([A, "-service=\udcff"], "-service: it is not UTF-8: write it so"),
        ([A, "-user-agent=a\nb"], "-user-agent: only printable ASCII can be sent"),
        ([A, "-tls-no-verify"], "specified -tls-no-verify without specifying -tls; add -tls"),
        ([A, "-tls-ca-cert=x"], "specified -tls-ca-cert without specifying -tls; add -tls"),
        ([A, "-tls-client-cert=x"], "specified -tls-client-cert without specifying -tls; add"),
        ([A, "-tls-client-key=x"], "specified -tls-client-key without specifying -tls; add"),
        ([A, "-tls-server-name=x"], "specified -tls-server-name without specifying -tls; add"),
        ([A, "-tls", "-tls-client-cert=x"], "specified -tls-client-cert without -tls-client-key;"),
        ([A, "-tls", "-tls-client-key=x"], "specified -tls-client-key without -tls-client-cert;"),
        ([A, "-tls", "-tls-no-verify", "-tls-ca-cert=x"], "-tls-no-verify would not use -tls-ca-c"),
        (
            [A, "-tls", "-tls-no-verify", "-tls-server-name=x"],
            "-tls-no-verify would not use -tl",
        ),
        ([A, "-tls", "-tls-ca-cert=/no.pem"], '-tls-ca-cert "/no.pem": no such file or directory'),
        ([A, "-tls", "-tls-server-name=.x"], '-tls-server-name ".x": no server has such a name'),
    ],
    ids=lambda value: (
        " ".join(value)[:40].encode("ascii", "replace").decode() if isinstance(value, list) else ""
    ),
)
def test_a_wrong_command_line_exits_1_with_the_mend(
    run: Run, arguments: list[str], line: str
) -> None:
    outcome = run(*arguments)

    (said,) = outcome.lines
    assert outcome.code == probe.ARGUMENTS
    assert said.startswith(f"error: {line}")


@pytest.mark.parametrize(
    "arguments",
    [
        ["-rpc-header=secret"],
        ["-rpc-header=token: s\u00e9cret"],
        ["-rpc-header=token: secret\r\nx: y"],
        ["-rpc-header=grpc-timeout: secret"],
        ["-rpc-header=: secret"],
        ["-rpc-header", "token:", "secret"],
        ["-rpc-headr=token: secret"],
    ],
    ids=repr,
)
def test_a_wrong_header_exits_1_and_never_shows_its_value(run: Run, arguments: list[str]) -> None:
    outcome = run(A, *arguments)

    (line,) = outcome.lines
    assert outcome.code == probe.ARGUMENTS
    assert line.startswith("error: ")
    assert "cret" not in line


def test_the_server_sees_the_headers_and_the_user_agent(
    server: str, servicer: Health, run: Run
) -> None:
    run("-addr", server, "-rpc-header=X-Token: a: b", "--rpc-header", "raw-bin:\x00", "-gzip")

    assert servicer.headers["x-token"] == "a: b"
    assert servicer.headers["raw-bin"] == b"\x00"
    assert servicer.headers["user-agent"] == f"petsage-grpc-probe/{__version__}"


def test_the_user_agent_can_be_chosen(server: str, servicer: Health, run: Run) -> None:
    run("-addr", server, "-user-agent=docker 1")

    assert servicer.headers["user-agent"] == "docker 1"


def test_the_server_sees_a_request_in_gzip(run: Run) -> None:
    seen: list[dict[str, str]] = []
    with raw_server(http2(replying(body=b"\0\0\0\0\2\x08\1"), seen)) as address:
        assert run("-addr", address, "-gzip").code == probe.SERVING

    assert seen[0]["grpc-encoding"] == "gzip"


@pytest.mark.parametrize("flag", ["-h", "-help", "--help"])
def test_help_fits_a_terminal_and_names_every_flag(
    capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    assert probe.main([flag]) == probe.SERVING

    captured = capsys.readouterr()
    assert captured.err == ""
    assert max(map(len, captured.out.splitlines())) <= 80
    for name in probe._FLAGS:
        assert f"-{name}" in captured.out


@pytest.mark.parametrize("flag", ["-version", "--version"])
def test_version_is_printed(capsys: pytest.CaptureFixture[str], flag: str) -> None:
    assert probe.main([flag]) == probe.SERVING

    assert capsys.readouterr().out == f"petsage-grpc-probe {__version__}\n"

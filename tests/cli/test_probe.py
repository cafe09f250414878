"""The verb `probe`: its flags, exit codes and lines, as grpc_health_probe's users know them."""

import contextlib
import datetime
import gc
import http.server
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from petsage_grpc import __version__
from petsage_grpc.cli import probe
from petsage_grpc.rpc.client.health_codec import decode_status, encode_request, status_name
from tests.rpc.raw_servers import GRPC, address_of, http2, listening, raw_server, replying, saying

Response = health_pb2.HealthCheckResponse
PROGRAM = "import sys; from petsage_grpc.cli.probe import main; sys.exit(main(sys.argv[1:]))"
SHORT = "200ms"


@dataclass
class Outcome:
    code: int
    lines: list[str] = field(default_factory=list)


class Health(health.HealthServicer):
    """The reference servicer, which keeps the headers it was sent."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.headers: dict[str, str | bytes] = {}
        self.hanging = threading.Event()
        for name, status in Response.ServingStatus.items():
            self.set(name.lower(), status)  # type: ignore[no-untyped-call]

    def Check(  # noqa: N802 -- the name is the protocol's
        self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        self.headers = dict(context.invocation_metadata())
        if request.service == "hangs":
            context.add_callback(self.hanging.set)
            self.hanging.wait(10)
        if request.service == "fails":
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "no\tentry")
        return super().Check(request, context)  # type: ignore[no-untyped-call,no-any-return]


@contextlib.contextmanager
def serving(
    servicer: Health | None,
    credentials: grpc.ServerCredentials | None = None,
    place: str = "127.0.0.1:0",
) -> Iterator[str]:
    with futures.ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        if servicer:
            health_pb2_grpc.add_HealthServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
        port = (
            server.add_secure_port(place, credentials)
            if credentials
            else server.add_insecure_port(place)
        )
        server.start()
        try:
            yield place if place.startswith("unix:") else place.removesuffix("0") + str(port)
        finally:
            if servicer:
                servicer.hanging.set()
            server.stop(None).wait()


@pytest.fixture
def servicer() -> Health:
    return Health()


@pytest.fixture
def server(servicer: Health) -> Iterator[str]:
    with serving(servicer) as address:
        yield address


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> "Run":
    return Run(capsys)


class Run:
    """Runs the verb in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: str) -> Outcome:
        code = probe.main(arguments)
        gc.unfreeze()  # it is not the end of this process: what it forgot to close must be found
        captured = self.capsys.readouterr()
        assert captured.out == ""
        return Outcome(code, captured.err.splitlines())


# --- what the server answers


@pytest.mark.parametrize(
    ("service", "code", "line"),
    [
        pytest.param("", 0, "status: SERVING", id="the whole server"),
        pytest.param("serving", 0, "status: SERVING", id="SERVING"),
        pytest.param("not_serving", 4, 'service unhealthy (responded with "NOT_SERVING")',
                     id="NOT_SERVING"),
        pytest.param("unknown", 4, 'service unhealthy (responded with "UNKNOWN")', id="UNKNOWN"),
        pytest.param("service_unknown", 4, 'service unhealthy (responded with "SERVICE_UNKNOWN")',
                     id="SERVICE_UNKNOWN"),
        pytest.param("nobody", 3,
                     "error: health rpc failed: NOT_FOUND:"
                     ' the server does not know service "nobody"',
                     id="unknown name"),
        pytest.param("fails", 3, "error: health rpc failed: PERMISSION_DENIED: no\\tentry",
                     id="another error"),
        pytest.param("hangs", 3, f"timeout: health rpc did not complete within {SHORT}",
                     id="no answer"),
    ],
)  # fmt: skip
def test_what_the_server_answers_has_an_exit_code_and_one_line(
    server: str, run: Run, service: str, code: int, line: str
) -> None:
    timeout = SHORT if service == "hangs" else "5s"

    assert run(f"-addr={server}", f"-service={service}", f"-rpc-timeout={timeout}") == Outcome(
        code, [line]
    )


def test_a_server_without_the_health_service_exits_3(run: Run) -> None:
    with serving(None) as address:
        outcome = run(f"-addr={address}")

    assert outcome.code == probe.RPC
    (line,) = outcome.lines
    assert line == (
        "error: this server does not implement the grpc health protocol"
        " (grpc.health.v1.Health): Method not found!"
    )


@pytest.mark.parametrize(
    ("body", "code", "line"),
    [
        (b"\0\0\0\0\2\x08\x63", 4, 'service unhealthy (responded with "99")'),
        (
            b"\0\0\0\0\2\x0a\x63",
            3,
            "error: health rpc failed: the answer is no HealthCheckRe",
        ),
        (
            b"",
            3,
            "error: health rpc failed: INTERNAL: the server said OK without",
        ),
    ],
    ids=["a status that is not known", "another message", "no message"],
)
def test_a_strange_answer_is_not_taken_for_health(
    run: Run, body: bytes, code: int, line: str
) -> None:
    with raw_server(http2(replying(body=body))) as address:
        outcome = run(f"-addr={address}")

    assert outcome.code == code
    assert [said[: len(line)] for said in outcome.lines] == [line]


def test_what_the_server_says_stays_on_one_line_and_within_reason(run: Run) -> None:
    words = [("grpc-status", "2"), ("grpc-message", "a%0Astatus: SERVING%1B[2J" + "x" * 5000)]
    with raw_server(http2(replying(headers=[*GRPC, *words], trailers=[]))) as address:
        outcome = run(f"-addr={address}")

    (line,) = outcome.lines
    assert line.startswith("error: health rpc failed: UNKNOWN: a\\nstatus: SERVING\\x1b[2Jxxx")
    assert len(line) == 1000


# --- no connection


class _Web(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def web_server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Web) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield address_of(server.socket)
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def closed_port() -> Iterator[str]:
    with listening() as listener:
        address = address_of(listener)
    yield address


@contextlib.contextmanager
def silent() -> Iterator[str]:
    with listening() as listener:
        yield address_of(listener)


Where = Callable[[], contextlib.AbstractContextManager[str]]


def text(address: str) -> Where:
    return lambda: contextlib.nullcontext(address)


@pytest.mark.parametrize(
    ("where", "flags", "reason"),
    [
        pytest.param(closed_port, [], "connection refused", id="nothing listens"),
        pytest.param(text("localhost"), [], "the port is missing; write HOST:PORT", id="no port"),
        pytest.param(text("localhost:65536"), [], '"65536" is no port; it must be from 1 to 65535',
                     id="port out of range"),
        pytest.param(silent, [], "the server accepted the connection but never answered",
                     id="never answers"),
        pytest.param(silent, ["-tls"],
                     "the server accepted the connection but never answered in TLS",
                     id="never answers in TLS"),
        pytest.param(web_server, [], "the server speaks HTTP/1.1, not gRPC", id="HTTP/1.1"),
        pytest.param(web_server, ["-tls"], "the server does not speak TLS; leave out -tls",
                     id="TLS against HTTP/1.1"),
        pytest.param(lambda: raw_server(saying(b"220 mail ready\r\n")), [],
                     'the server does not speak gRPC; it answered "220 mail ready\\r\\n"',
                     id="another protocol"),
        pytest.param(lambda: raw_server(saying(b"")), [],
                     "the server closed the connection at once", id="closes"),
        pytest.param(lambda: serving(Health()), ["-tls"],
                     "the server does not speak TLS; leave out -tls", id="TLS against plaintext"),
        pytest.param(text("unix:/nowhere/socket"), [], "no such file or directory",
                     id="no such socket"),
    ],
)  # fmt: skip
def test_no_connection_exits_2_within_the_timeout_and_says_why(
    run: Run, where: Where, flags: Sequence[str], reason: str
) -> None:
    with where() as address:
        started = time.monotonic()
        outcome = run("-addr", address, *flags, "-connect-timeout", "300ms")
        took = time.monotonic() - started

    line = f'timeout: failed to connect service "{address}" within 300ms: {reason}'
    assert outcome == Outcome(2, [line])
    assert took < 0.3 + 0.2


# --- TLS


class Certificates:
    """An authority, a server's pair of it, and files for the flags."""

    def __init__(self, directory: Path) -> None:
        self.authority = trustme.CA()
        self.ca = str(directory / "ca.pem")
        self.authority.cert_pem.write_to_path(self.ca)
        client = self.authority.issue_cert("client.example")
        self.cert, self.key = str(directory / "cert.pem"), str(directory / "key.pem")
        client.cert_chain_pems[0].write_to_path(self.cert)
        client.private_key_pem.write_to_path(self.key)

    def server(
        self, name: str = "127.0.0.1", *, mutual: bool = False, days: int = 1
    ) -> grpc.ServerCredentials:
        now = datetime.datetime.now(datetime.UTC)
        leaf = self.authority.issue_cert(
            name,
            not_before=now - datetime.timedelta(days=9),
            not_after=now + datetime.timedelta(days=days),
        )
        pair = leaf.private_key_pem.bytes(), leaf.cert_chain_pems[0].bytes()
        return grpc.ssl_server_credentials([pair], self.authority.cert_pem.bytes(), mutual)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize(
    ("flags", "name", "mutual"),
    [
        pytest.param("-tls -tls-ca-cert={ca}", "127.0.0.1", False, id="trusted"),
        pytest.param("-tls=true -tls-no-verify", "else.example", False, id="not verified"),
        pytest.param("--tls --tls-ca-cert {ca} --tls-server-name else.example", "else.example",
                     False, id="other name"),
        pytest.param("-tls -tls-ca-cert={ca} -tls-client-cert={cert} -tls-client-key={key}",
                     "127.0.0.1", True, id="mutual"),
    ],
)  # fmt: skip
def test_a_server_with_tls_is_asked(
    certificates: Certificates, run: Run, flags: str, name: str, mutual: bool
) -> None:
    given = flags.format(**vars(certificates)).split()
    with serving(Health(), certificates.server(name, mutual=mutual)) as address:
        assert run("-addr", address, *given) == Outcome(0, ["status: SERVING"])


@pytest.mark.parametrize(
    ("flags", "server", "reason"),
    [
        pytest.param("", {}, "the server speaks TLS; add -tls", id="plaintext"),
        pytest.param("-tls -tls-ca-cert={ca}", {"days": -1},
                     "the server's certificate has expired; renew it", id="expired"),
        pytest.param("-tls", {}, "the server's certificate is not trusted (", id="not trusted"),
        pytest.param("-tls -tls-ca-cert={ca}", {"name": "else.example"},
                     'the server\'s certificate is not for "127.0.0.1"; name one', id="other name"),
        pytest.param("-tls -tls-ca-cert={ca}", {"mutual": True},
                     "the server closed the connection in TLS;"
                     " if it demands a client certificate, add -tls-client-cert and -tls-cl",
                     id="client certificate missing"),
    ],
)  # fmt: skip
def test_tls_that_fails_exits_2_and_says_why(
    certificates: Certificates, run: Run, flags: str, server: dict[str, Any], reason: str
) -> None:
    given = flags.format(**vars(certificates)).split()
    with serving(Health(), certificates.server(**server)) as address:
        outcome = run("-addr", address, *given)

    (line,) = outcome.lines
    assert outcome.code == probe.CONNECT
    assert line.startswith(f'timeout: failed to connect service "{address}" within 1s: {reason}')


# --- flags


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


@pytest.mark.parametrize("place", ["unix", "[::1]:0"])
def test_unix_sockets_and_ipv6_are_reached(
    servicer: Health, run: Run, tmp_path: Path, place: str
) -> None:
    with serving(servicer, place=f"unix:{tmp_path}/s" if place == "unix" else place) as address:
        assert run("-addr", address) == Outcome(0, ["status: SERVING"])


def test_v_says_every_step_but_no_header_value(
    server: str, run: Run, certificates: Certificates
) -> None:
    plain = run("-v", "-addr", server, "-rpc-header=a: secret", "-rpc-header=B: secret")
    tls = run("-v", "-addr", server, "-tls", f"-tls-ca-cert={certificates.ca}")

    took = r"[\d.]+(ms|s)"
    expected = [
        rf"> addr={re.escape(server)} conn_timeout=1s rpc_timeout=1s",
        rf"> service= gzip=false user-agent=petsage-grpc-probe/{re.escape(__version__)}",
        "> headers: a, B",
        "> tls=false",
        "establishing connection",
        rf"connection established \(took {took}\)",
        rf"time elapsed: connect={took} rpc={took}",
        "status: SERVING",
    ]
    assert plain.lines[0] == "parsed options:"
    for said, pattern in zip(plain.lines[1:], expected, strict=True):
        assert re.fullmatch(pattern, said)
    refused = "the server does not speak TLS; leave out -tls"
    assert tls.lines[3:] == [
        "> tls=true",
        "  > no-verify=false",
        f"  > ca-cert={certificates.ca}",
        "  > client-cert=",
        "  > client-key=",
        "  > server-name=",
        "establishing connection",
        f'timeout: failed to connect service "{server}" within 1s: {refused}',
    ]


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


# --- the messages


NAMES = ["", "a", "petsage.v1.Orders", "n\u00e4me \U0001f408", "x" * 127, "x" * 128, "x" * 100_000]


@pytest.mark.parametrize("name", NAMES, ids=[f"{len(name)} characters" for name in NAMES])
def test_a_request_is_written_as_protobuf_writes_it(name: str) -> None:
    expected = health_pb2.HealthCheckRequest(service=name).SerializeToString()

    assert encode_request(name) == expected


@pytest.mark.parametrize("status", [*Response.ServingStatus.values(), 4, 127, 128, 2**31 - 1])
def test_an_answer_is_read_as_protobuf_reads_it(status: int) -> None:
    message = Response(status=status).SerializeToString()  # type: ignore[arg-type]

    assert decode_status(message) == status


def test_every_status_has_the_name_of_the_protocol() -> None:
    names = Response.ServingStatus.items()

    assert [(status_name(status), status) for _, status in names] == names
    assert status_name(len(names)) == str(len(names))


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"\x08\1\x10\x96\1", id="another number"),
        pytest.param(b"\x12\2ab\x08\1", id="a string"),
        pytest.param(b"\x19abcdefgh\x08\1\x25abcd", id="fixed widths"),
        pytest.param(b"\x08\2\x08\1", id="the last one counts"),
    ],
)
def test_fields_of_a_later_protocol_are_passed_over(message: bytes) -> None:
    assert decode_status(message) == Response.FromString(message).status == Response.SERVING


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"\x08", id="no value"),
        pytest.param(b"\x08\x80", id="half a value"),
        pytest.param(b"\x08" + b"\xff" * 11, id="a value without end"),
        pytest.param(b"\x12\5ab", id="half a string"),
        pytest.param(b"\x25ab", id="half a number"),
        pytest.param(b"\x0f", id="no such wire type"),
        pytest.param(b"\0\1", id="no such field"),
    ],
)
def test_what_protobuf_refuses_is_refused(message: bytes) -> None:
    with pytest.raises(DecodeError):
        Response.FromString(message)
    with pytest.raises(ValueError, match=r"."):
        decode_status(message)


# --- the process


def start(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments], stderr=subprocess.PIPE, text=True
    )


def test_the_exit_code_is_that_of_the_process(server: str) -> None:
    with start(f"-addr={server}", "-service=not_serving") as process:
        _, said = process.communicate(timeout=10)

    assert (process.returncode, said) == (
        4,
        'service unhealthy (responded with "NOT_SERVING")\n',
    )


def test_an_interrupt_while_connecting_ends_without_a_traceback() -> None:
    with listening() as listener:
        arguments = f"-addr={address_of(listener)}", "-connect-timeout=1h"
        with start(*arguments) as process, listener.accept()[0] as connection:
            connection.recv(1)  # now it waits for an answer
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=10)

    assert (process.returncode, said) == (probe.CONNECT, "cancellation received\n")


def test_an_interrupt_in_the_rpc_ends_without_a_traceback() -> None:
    asked = threading.Event()
    with (
        raw_server(http2(lambda *_: asked.set())) as address,
        start(f"-addr={address}", "-rpc-timeout=1h") as process,
    ):
        assert asked.wait(10)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=10)

    assert (process.returncode, said) == (probe.RPC, "cancellation received\n")


def test_nobody_need_read_what_is_said(server: str) -> None:
    with start(f"-addr={server}", "-v") as process:
        assert process.stderr
        process.stderr.close()
        assert process.wait(10) == probe.SERVING


def test_probe_imports_neither_grpc_nor_protobuf_nor_asyncio_nor_tls(server: str) -> None:
    costly = ["grpc", "google.protobuf", "asyncio", "ssl", "argparse", "encodings.idna"]
    program = (
        "import sys; from petsage_grpc.cli.probe import main; code = main(sys.argv[1:])\n"
        f"print(code, [name for name in {costly} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, f"-addr={server}"],
        check=True,
        capture_output=True,
        text=True,
    )

    assert done.stdout == "0 []\n"

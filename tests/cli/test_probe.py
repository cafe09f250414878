"""The verb `probe`: its exit codes and lines, as grpc_health_probe's users know them."""

import contextlib
import http.server
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from petsage_grpc import __version__
from petsage_grpc.cli import probe
from tests.cli.conftest import Certificates, Health, Outcome, Run, serving
from tests.rpc.client.raw_servers import (
    GRPC,
    address_of,
    http2,
    listening,
    raw_server,
    replying,
    saying,
)

PROGRAM = "import sys; from petsage_grpc.cli.probe import main; sys.exit(main(sys.argv[1:]))"
SHORT = "200ms"


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
    assert took < 5, "it has not to hang; how long it takes on a shared machine nobody knows"


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

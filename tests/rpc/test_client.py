"""The client against real servers, and against every kind of server that is none."""

import contextlib
import datetime
import gzip
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest
import trustme
from h2.connection import H2Connection
from h2.errors import ErrorCodes

from petsage_grpc import __version__
from petsage_grpc.rpc import client
from petsage_grpc.rpc.client import (
    Address,
    AddressError,
    ConnectError,
    Connection,
    MetadataError,
    RpcError,
    Tls,
    TlsOptionError,
    parse_address,
)
from tests.rpc.raw_servers import (
    GRPC,
    Answer,
    Echo,
    Handle,
    address_of,
    drain,
    http2,
    listening,
    raw_server,
    replying,
    saying,
)

TIMEOUT = 5.0
SHORT = 0.2
GOAWAY = b"\0\0\x0b\7\0\0\0\0\0"  # the header of the frame, for "\x7f\xff\xff\xff" + code + "bye"


def connect(address: str, timeout: float = TIMEOUT, tls: Tls | None = None) -> Connection:
    return Connection.connect(parse_address(address), timeout, tls)


def refusal(address: str, timeout: float = TIMEOUT, tls: Tls | None = None) -> ConnectError:
    """Fail to connect, within the timeout."""
    started = time.monotonic()
    with pytest.raises(ConnectError) as caught:
        connect(address, timeout, tls)
    assert time.monotonic() - started < timeout + SHORT
    return caught.value


@contextlib.contextmanager
def grpc_server(
    echo: Echo, credentials: grpc.ServerCredentials | None = None, place: str = "127.0.0.1:0"
) -> Iterator[str]:
    with futures.ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, handlers=[echo])
        if credentials:
            port = server.add_secure_port(place, credentials)
        else:
            port = server.add_insecure_port(place)
        server.start()
        try:
            yield place if place.startswith("unix:") else place.removesuffix("0") + str(port)
        finally:
            echo.hanging.set()
            server.stop(None).wait()


def message(content: bytes, flag: int = 0) -> bytes:
    return bytes([flag]) + len(content).to_bytes(4, "big") + content


class Certificates:
    """An authority, and files with what it issued."""

    def __init__(self, directory: Path) -> None:
        self.authority = trustme.CA()
        self.directory = directory
        self.ca = self._write("ca", self.authority.cert_pem)
        self.server = self.authority.issue_cert("localhost", "127.0.0.1", "server.example")
        client_cert = self.authority.issue_cert("client.example")
        self.cert = self._write("cert", *client_cert.cert_chain_pems)
        self.key = self._write("key", client_cert.private_key_pem)
        stranger = trustme.CA().issue_cert("client.example")
        self.other_cert = self._write("other-cert", *stranger.cert_chain_pems)
        self.other_key = self._write("other-key", stranger.private_key_pem)

    def _write(self, name: str, *parts: trustme.Blob) -> str:
        path = self.directory / f"{name}.pem"
        for part in parts:
            part.write_to_path(path, append=True)
        return str(path)

    def ours(self) -> Tls:
        return Tls(ca_cert=self.ca, client_cert=self.cert, client_key=self.key)

    def strangers(self) -> Tls:
        return Tls(ca_cert=self.ca, client_cert=self.other_cert, client_key=self.other_key)

    def grpc(self, leaf: trustme.LeafCert, *, mutual: bool = False) -> grpc.ServerCredentials:
        pair = leaf.private_key_pem.bytes(), b"".join(pem.bytes() for pem in leaf.cert_chain_pems)
        return grpc.ssl_server_credentials([pair], self.authority.cert_pem.bytes(), mutual)

    def openssl(
        self,
        *,
        mutual: bool = False,
        alpn: str = "h2",
        version: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
    ) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.configure_cert(context)
        context.set_alpn_protocols([alpn] if alpn else [])
        context.maximum_version = version
        if mutual:
            context.verify_mode = ssl.CERT_REQUIRED
            self.authority.configure_trust(context)
        return context


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def server(echo: Echo) -> Iterator[str]:
    with grpc_server(echo) as address:
        yield address


# --- addresses


@pytest.mark.parametrize(
    ("text", "host", "port", "path", "authority"),
    [
        pytest.param("db:1", "db", 1, "", "db:1", id="name"),
        pytest.param("10.0.0.1:65535", "10.0.0.1", 65535, "", "10.0.0.1:65535", id="IPv4"),
        pytest.param("[::1]:50051", "::1", 50051, "", "[::1]:50051", id="IPv6"),
        pytest.param("[fe80::1%eth0]:5", "fe80::1%eth0", 5, "", "[fe80::1]:5", id="IPv6 zone"),
        pytest.param(":50051", "localhost", 50051, "", "localhost:50051", id="no host"),
        pytest.param("dns:///db:1", "db", 1, "", "db:1", id="dns"),
        pytest.param("passthrough:///db:1", "db", 1, "", "db:1", id="passthrough"),
        pytest.param("bücher.example:1", "xn--bcher-kva.example", 1, "",
                     "xn--bcher-kva.example:1", id="international name"),
        pytest.param("unix:/run/a b", "localhost", 0, "/run/a b", "localhost", id="unix"),
        pytest.param("unix:run/a", "localhost", 0, "run/a", "localhost", id="unix relative"),
        pytest.param("unix:///run/a", "localhost", 0, "/run/a", "localhost", id="unix as a URL"),
    ],
)  # fmt: skip
def test_an_address_is_read(text: str, host: str, port: int, path: str, authority: str) -> None:
    address = parse_address(text)

    assert address == Address(text, host, port, path)
    assert address.authority == authority


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the port is missing"),
        ("localhost", "the port is missing"),
        ("[::1]", "the port is missing"),
        ("::1:50051", "brackets"),
        ("[::1:50051", "brackets"),
        ("localhost:", '"" is no port'),
        ("localhost:0", '"0" is no port'),
        ("localhost:65536", "from 1 to 65535"),
        ("localhost:99999999999999999999", "from 1 to 65535"),
        ("localhost:-1", "is no port"),
        ("localhost:http", "is no port"),
        ("localhost:\N{ARABIC-INDIC DIGIT ONE}", "is no port"),
        ("http://localhost:1", 'leave out "http://"'),
        ("dns://8.8.8.8/db:1", 'leave out "dns://"'),
        ("localhost:1/path", "nothing else"),
        ("local host:1", "nothing else"),
        ("local\nhost:1", "nothing else"),
        ("ü..ü:1", "no valid name"),
        ("unix:", "unix:PATH"),
        ("unix://run/a", "absolute"),
    ],
)
def test_a_wrong_address_is_refused_with_the_mend(text: str, reason: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_address(text)

    assert reason in caught.value.reason
    assert caught.value.address == text


# --- calls to a real server


def test_a_call_answers_and_the_connection_takes_more(server: str) -> None:
    with connect(server) as connection:
        assert connection.call("/echo/same", b"one", TIMEOUT) == b"one"
        assert connection.call("/echo/same", b"", TIMEOUT) == b""


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_request_and_an_answer_of_nearly_four_mebibytes_pass(server: str, packed: bool) -> None:
    message = bytes(client.MAX_MESSAGE - 100)
    with connect(server) as connection:
        answer = connection.call("/echo/same", message, TIMEOUT, gzip=packed)

    assert answer == message


def test_the_server_sees_what_was_asked_for(server: str, echo: Echo) -> None:
    with Connection.connect(parse_address(server), TIMEOUT, user_agent="tests/1") as connection:
        headers = [("X-Token", "a: b "), ("x-token", "c"), ("raw-bin", "\x00é")]
        connection.call("/echo/same", b"asked", TIMEOUT, headers, gzip=True)

    assert echo.request == b"asked"
    assert echo.metadata["user-agent"] == "tests/1"
    assert echo.metadata["x-token"] == "c"
    assert echo.metadata["raw-bin"] == "\x00é".encode()


@pytest.mark.parametrize(
    ("packed", "timeout", "written"),
    [(False, 1.5, "1500000u"), (True, 100.0, "100000m"), (False, 1e9, "86400000m")],
    ids=["plain", "gzip", "long"],
)
def test_a_request_has_the_headers_that_grpc_demands(
    packed: bool, timeout: float, written: str
) -> None:
    seen: list[dict[str, str]] = []
    handle = http2(replying(body=message(b"")), seen)
    with raw_server(handle) as address, connect(address) as connection:
        connection.call("/a/b", b"", timeout, gzip=packed)

    assert seen == [
        {
            ":method": "POST",
            ":scheme": "http",
            ":path": "/a/b",
            ":authority": address,
            "grpc-timeout": written,
            "te": "trailers",
            "content-type": "application/grpc",
            "user-agent": f"petsage-grpc/{__version__}",
            "grpc-accept-encoding": "identity,gzip",
        }
        | ({"grpc-encoding": "gzip"} if packed else {})
    ]


def test_a_request_over_tls_calls_the_server_by_the_name_given(certificates: Certificates) -> None:
    seen: list[dict[str, str]] = []
    handle = http2(replying(body=message(b"")), seen)
    tls = Tls(ca_cert=certificates.ca, server_name="server.example")
    with (
        raw_server(handle, certificates.openssl()) as address,
        connect(address, tls=tls) as connection,
    ):
        connection.call("/a/b", b"", TIMEOUT)

    assert (seen[0][":scheme"], seen[0][":authority"]) == ("https", "server.example")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("", "x", "a name has"),
        ("a b", "x", "a name has"),
        (":path", "x", "a name has"),
        ("te", "x", "belongs to the protocol"),
        ("Grpc-Timeout", "x", "belongs to the protocol"),
        ("token", "sécret", "printable ASCII"),
        ("token", "secret\r\nx: y", "printable ASCII"),
    ],
)
def test_a_header_that_can_not_be_sent_is_refused_without_showing_its_value(
    server: str, name: str, value: str, reason: str
) -> None:
    with connect(server) as connection:
        with pytest.raises(MetadataError, match=reason) as caught:
            connection.call("/echo/same", b"", TIMEOUT, [(name, value)])
        assert connection.call("/echo/same", b"after", TIMEOUT) == b"after"

    assert value not in str(caught.value) or value == "x"


def test_a_user_agent_that_can_not_be_sent_is_refused() -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        Connection.connect(parse_address("127.0.0.1:1"), TIMEOUT, user_agent="a\r\nb")


def test_a_status_comes_with_its_name_and_its_words(server: str) -> None:
    with connect(server) as connection, pytest.raises(RpcError) as caught:
        connection.call("/echo/refuse", "50% müde\n".encode(), TIMEOUT)

    assert (caught.value.code, caught.value.name) == (9, "FAILED_PRECONDITION")
    assert caught.value.details == "50% müde\n"
    assert str(caught.value) == "FAILED_PRECONDITION: 50% müde\n"


def test_a_method_that_the_server_lacks_is_unimplemented(server: str) -> None:
    with connect(server) as connection, pytest.raises(RpcError) as caught:
        connection.call("/echo/nothing", b"", TIMEOUT)

    assert caught.value.name == "UNIMPLEMENTED"


def test_an_answer_that_is_too_long_is_refused_and_the_connection_lives_on(server: str) -> None:
    with connect(server) as connection:
        with pytest.raises(RpcError) as caught:
            connection.call("/echo/long", str(client.MAX_MESSAGE + 1).encode(), TIMEOUT)
        assert connection.call("/echo/same", b"after", TIMEOUT) == b"after"

    assert caught.value.name == "RESOURCE_EXHAUSTED"


def test_an_answer_that_is_late_is_given_up_and_the_server_is_told(server: str, echo: Echo) -> None:
    with connect(server) as connection:
        with pytest.raises(RpcError) as caught:
            connection.call("/echo/hang", b"", SHORT)
        assert echo.hanging.wait(TIMEOUT)
        assert connection.call("/echo/same", b"after", TIMEOUT) == b"after"

    assert caught.value.name == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("seconds", [1e9, float("inf")], ids=["decades", "for ever"])
def test_a_very_long_timeout_is_cut_to_what_sockets_take(server: str, seconds: float) -> None:
    with connect(server, seconds) as connection:
        assert connection.call("/echo/same", b"x", seconds) == b"x"


@pytest.mark.parametrize("form", ["unix:{}", "unix://{}"])
def test_a_unix_socket_is_reached(echo: Echo, tmp_path: Path, form: str) -> None:
    path = tmp_path / "socket"
    with grpc_server(echo, place=f"unix:{path}"), connect(form.format(path)) as connection:
        assert connection.call("/echo/same", b"x", TIMEOUT) == b"x"


def test_an_ipv6_address_is_reached(echo: Echo) -> None:
    with grpc_server(echo, place="[::1]:0") as address, connect(address) as connection:
        assert connection.call("/echo/same", b"x", TIMEOUT) == b"x"


# --- no connection


def test_a_closed_port_refuses_at_once() -> None:
    with listening() as listener:
        address = address_of(listener)

    error = refusal(address)

    assert (error.reason, error.address, error.timed_out) == ("connection refused", address, False)


def test_a_missing_unix_socket_is_said() -> None:
    assert refusal("unix:/nowhere/at-all").reason == "no such file or directory"


def test_a_unix_path_that_no_socket_can_have_is_said() -> None:
    assert refusal("unix:/" + "a" * 200).reason == "AF_UNIX path too long"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (socket.EAI_NONAME, 'unknown host "db"'),
        (socket.EAI_AGAIN, 'unknown host "db" (no name server answers)'),
    ],
    ids=["no such name", "no name server"],
)
def test_an_unknown_host_is_said(monkeypatch: pytest.MonkeyPatch, code: int, reason: str) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(code, "words of the system")

    monkeypatch.setattr(socket, "getaddrinfo", fail)

    error = refusal("db:1")

    assert (error.reason, error.timed_out) == (reason, False)


def test_a_look_up_that_hangs_does_not_outlast_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    real = socket.getaddrinfo

    def hang(host: bytes, port: int, **options: int) -> object:
        if not options["flags"]:
            over.wait(TIMEOUT)
        return real(host, port, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        error = refusal("slow.invalid:1", SHORT)
    finally:
        over.set()
        for thread in threading.enumerate():
            if thread.name == "look-up":
                thread.join()

    assert error.timed_out
    assert error.reason == 'the look-up of host "slow.invalid" got no answer'


def answer_look_up(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    places = [(parse_address(address).host, parse_address(address).port) for address in addresses]
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


def test_every_address_of_a_host_is_tried_in_turn(
    monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    with raw_server(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as web, listening() as silent:
        answer_look_up(monkeypatch, "127.0.0.1:1", web, address_of(silent), server)

        with connect("many:1", 4 * SHORT) as connection:
            assert connection.call("/echo/same", b"x", TIMEOUT) == b"x"


def test_when_every_address_fails_each_reason_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as silent:
        answer_look_up(monkeypatch, "127.0.0.1:1", "127.0.0.2:1", address_of(silent))

        error = refusal("many:1", SHORT)

    assert error.timed_out
    assert error.reason == (
        "connection refused (127.0.0.1);"
        " the server accepted the connection but never answered (127.0.0.1)"
    )


def test_a_host_that_drops_packets_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as s:
        # once the queue is full the kernel drops what asks for more
        with pytest.raises(TimeoutError):  # noqa: PT012 -- it takes as many as the kernel admits
            while True:
                filler = s.enter_context(socket.socket())
                filler.settimeout(SHORT)
                filler.connect(listener.getsockname())

        error = refusal(address_of(listener), SHORT)

    assert (error.reason, error.timed_out) == ("the host does not answer", True)


def test_a_listener_that_never_answers_times_out() -> None:
    with listening() as listener:
        error = refusal(address_of(listener), SHORT)

    assert error.timed_out
    assert error.reason == "the server accepted the connection but never answered"


NOT_GRPC = {
    "HTTP/1.1": (b"HTTP/1.1 400 Bad Request\r\n\r\n", "speaks HTTP/1.1, not gRPC"),
    "HTTP/1.1 byte by byte": (b"H", "speaks HTTP/1.1, not gRPC"),
    "HTTP/0.9": (b"<!DOCTYPE HTML>\n", "speaks HTTP/1.1, not gRPC"),
    "TLS alert": (b"\x15\x03\x01\0\2\2\x46", "speaks TLS; add -tls"),
    "TLS handshake": (b"\x16\x03\x01", "speaks TLS; add -tls"),
    "SSH": (b"SSH-2.0-OpenSSH_9.2\r\n", 'does not speak gRPC; it answered "SSH-2.0-OpenSSH_9.2'),
    "binary": (b"\xff\x00\xfe", 'it answered "\\xff\x00\\xfe"'),
    "a frame that is not SETTINGS": (b"\0\0\4\0\0\0\0\0\1abcd", "does not speak gRPC"),
    "SETTINGS of a wrong size": (b"\0\0\1\4\0\0\0\0\0x", "broken HTTP/2"),
    "SETTINGS longer than allowed": (b"\0\x7f\xff\4\0\0\0\0\0", "broken HTTP/2"),
    "GOAWAY at once": (GOAWAY + b"\0\0\0\0\0\0\0\x0bbye", "(GOAWAY ENHANCE_YOUR_CALM: bye)"),
    "half a frame": (b"\0\0", "closed the connection at once"),
    "nothing": (b"", "closed the connection at once"),
}


@pytest.mark.parametrize(("words", "reason"), NOT_GRPC.values(), ids=NOT_GRPC.keys())
def test_what_is_no_grpc_is_told_at_once(words: bytes, reason: str) -> None:
    with raw_server(saying(words)) as address:
        error = refusal(address)

    assert reason in error.reason
    assert not error.timed_out


def test_a_server_that_resets_the_connection_is_said() -> None:
    def reset(connection: socket.socket) -> None:
        # closing with unread bytes makes the kernel send RST
        connection.recv(1)

    with raw_server(reset) as address:
        assert refusal(address).reason == "the server closed the connection at once"


# --- TLS


@pytest.mark.parametrize(
    "tls",
    [
        pytest.param(lambda own: Tls(ca_cert=own.ca), id="trusted"),
        pytest.param(
            lambda own: Tls(ca_cert=own.ca, server_name="server.example"), id="other name"
        ),
        pytest.param(lambda _: Tls(no_verify=True), id="not verified"),
        pytest.param(lambda own: own.ours(), id="with a client certificate"),
    ],
)
def test_a_call_passes_over_tls(certificates: Certificates, echo: Echo, tls: object) -> None:
    assert callable(tls)
    credentials = certificates.grpc(certificates.server)
    with (
        grpc_server(echo, credentials) as address,
        connect(address, tls=tls(certificates)) as connection,
    ):
        assert connection.call("/echo/same", b"x", TIMEOUT) == b"x"


def test_the_certificate_of_a_server_can_itself_be_what_is_trusted(
    certificates: Certificates, echo: Echo, tmp_path: Path
) -> None:
    leaf = tmp_path / "leaf.pem"
    certificates.server.cert_chain_pems[0].write_to_path(leaf)
    with (
        grpc_server(echo, certificates.grpc(certificates.server)) as address,
        connect(address, tls=Tls(ca_cert=str(leaf))) as connection,
    ):
        assert connection.call("/echo/same", b"x", TIMEOUT) == b"x"


def test_a_call_passes_over_mutual_tls(certificates: Certificates, echo: Echo) -> None:
    credentials = certificates.grpc(certificates.server, mutual=True)
    with (
        grpc_server(echo, credentials) as address,
        connect(address, tls=certificates.ours()) as connection,
    ):
        assert connection.call("/echo/same", b"x", TIMEOUT) == b"x"


def test_a_certificate_that_has_expired_is_said(certificates: Certificates, echo: Echo) -> None:
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    leaf = certificates.authority.issue_cert(
        "127.0.0.1", not_before=yesterday - datetime.timedelta(days=1), not_after=yesterday
    )
    with grpc_server(echo, certificates.grpc(leaf)) as address:
        error = refusal(address, tls=Tls(ca_cert=certificates.ca))

    assert error.reason == "the server's certificate has expired; renew it"


def test_a_certificate_that_is_not_valid_yet_is_said(
    certificates: Certificates, echo: Echo
) -> None:
    tomorrow = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    leaf = certificates.authority.issue_cert("127.0.0.1", not_before=tomorrow)
    with grpc_server(echo, certificates.grpc(leaf)) as address:
        error = refusal(address, tls=Tls(ca_cert=certificates.ca))

    assert error.reason == "the server's certificate is not valid yet; compare the clocks"


def test_a_certificate_that_is_not_trusted_is_said(certificates: Certificates, echo: Echo) -> None:
    with grpc_server(echo, certificates.grpc(certificates.server)) as address:
        error = refusal(address, tls=Tls())

    assert error.reason.startswith("the server's certificate is not trusted")
    assert error.reason.endswith("name its authority's file with -tls-ca-cert")


@pytest.mark.parametrize(
    ("given", "name"), [("", "127.0.0.1"), ("else.example", "else.example")], ids=["host", "given"]
)
def test_a_certificate_for_another_name_is_said(
    certificates: Certificates, echo: Echo, given: str, name: str
) -> None:
    leaf = certificates.authority.issue_cert("server.example")
    with grpc_server(echo, certificates.grpc(leaf)) as address:
        error = refusal(address, tls=Tls(ca_cert=certificates.ca, server_name=given))

    assert error.reason == (
        f'the server\'s certificate is not for "{name}";'
        " name one that it is for with -tls-server-name"
    )


def test_grpc_with_mutual_tls_closes_on_a_client_without_certificate(
    certificates: Certificates, echo: Echo
) -> None:
    credentials = certificates.grpc(certificates.server, mutual=True)
    with grpc_server(echo, credentials) as address:
        missing = refusal(address, tls=Tls(ca_cert=certificates.ca))
        strange = refusal(address, tls=certificates.strangers())

    assert missing.reason == (
        "the server closed the connection in TLS;"
        " if it demands a client certificate, add -tls-client-cert and -tls-client-key"
    )
    assert strange.reason == (
        "the server closed the connection in TLS; it may not trust the client certificate"
    )


@pytest.mark.parametrize(
    ("version", "missing"),
    [
        pytest.param(ssl.TLSVersion.TLSv1_3, "the server demands a client certificate; add -tls-cl",
                     id="TLS 1.3: the alert comes after the handshake"),
        pytest.param(ssl.TLSVersion.TLSv1_2, "the server refuses TLS (handshake failure); if it",
                     id="TLS 1.2"),
    ],
)  # fmt: skip
def test_mutual_tls_without_a_certificate_that_the_server_trusts_is_said(
    certificates: Certificates, version: ssl.TLSVersion, missing: str
) -> None:
    context = certificates.openssl(mutual=True, version=version)
    with raw_server(saying(b""), context) as address:
        without = refusal(address, tls=Tls(ca_cert=certificates.ca))
        strange = refusal(address, tls=certificates.strangers())

    assert without.reason.startswith(missing)
    assert strange.reason == "the server refuses the client certificate (unknown ca)"


@pytest.mark.parametrize("alpn", ["", "http/1.1"], ids=["none", "another"])
def test_tls_without_http2_is_said(certificates: Certificates, alpn: str) -> None:
    with raw_server(saying(b""), certificates.openssl(alpn=alpn)) as address:
        error = refusal(address, tls=Tls(ca_cert=certificates.ca))

    assert error.reason == 'not gRPC: the server does not agree on HTTP/2 (ALPN "h2") in TLS'


def test_tls_against_a_plaintext_server_is_said(server: str) -> None:
    assert refusal(server, tls=Tls()).reason == "the server does not speak TLS; leave out -tls"


@pytest.mark.parametrize("kind", ["grpc", "grpc mutual", "openssl"])
def test_plaintext_against_a_tls_server_is_said(
    certificates: Certificates, echo: Echo, kind: str
) -> None:
    credentials = certificates.grpc(certificates.server, mutual=kind == "grpc mutual")
    serving = (
        raw_server(drain, certificates.openssl())
        if kind == "openssl"
        else grpc_server(echo, credentials)
    )
    with serving as address:
        assert refusal(address).reason == "the server speaks TLS; add -tls"


def test_a_listener_that_never_answers_in_tls_times_out() -> None:
    with listening() as listener:
        error = refusal(address_of(listener), SHORT, Tls(no_verify=True))

    assert error.timed_out
    assert error.reason == "the server accepted the connection but never answered in TLS"


def test_a_server_that_never_answers_after_the_handshake_times_out(
    certificates: Certificates,
) -> None:
    def read_all(connection: socket.socket) -> None:
        while connection.recv(65536):
            pass

    with raw_server(read_all, certificates.openssl()) as address:
        error = refusal(address, SHORT, Tls(ca_cert=certificates.ca))

    assert error.timed_out
    assert error.reason == "the server accepted the connection but never answered"


def encrypted_key(certificates: Certificates) -> str:
    from cryptography.hazmat.primitives import serialization as s  # noqa: PLC0415 -- only here

    key = s.load_pem_private_key(Path(certificates.key).read_bytes(), None)
    path = certificates.directory / "encrypted.pem"
    secret = s.BestAvailableEncryption(b"secret")
    path.write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, secret))
    return str(path)


def broken(certificates: Certificates) -> str:
    path = certificates.directory / "broken.pem"
    path.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    return str(path)


@pytest.mark.parametrize(
    ("tls", "option", "reason"),
    [
        pytest.param(lambda _: Tls(ca_cert="/nowhere.pem"), "tls-ca-cert", "no such file",
                     id="CA missing"),
        pytest.param(lambda own: Tls(ca_cert=str(own.directory)), "tls-ca-cert", "is a directory",
                     id="CA a directory"),
        pytest.param(lambda own: Tls(ca_cert=own.key), "tls-ca-cert", "no certificate in PEM form",
                     id="CA a key"),
        pytest.param(lambda own: Tls(ca_cert=broken(own)), "tls-ca-cert", "a broken certificate",
                     id="CA broken"),
        pytest.param(lambda own: Tls(client_cert="/no.pem", client_key=own.key),
                     "tls-client-cert", "no such file", id="certificate missing"),
        pytest.param(lambda own: Tls(client_cert=own.cert, client_key="/no.pem"),
                     "tls-client-key", "no such file", id="key missing"),
        pytest.param(lambda own: Tls(client_cert=own.key, client_key=own.cert),
                     "tls-client-cert", "no certificate in PEM form", id="swapped"),
        pytest.param(lambda own: Tls(client_cert=own.cert, client_key=own.cert),
                     "tls-client-key", "no private key in PEM form", id="key a certificate"),
        pytest.param(lambda own: Tls(client_cert=own.cert, client_key=own.other_key),
                     "tls-client-key", "does not belong to the certificate", id="not a pair"),
        pytest.param(lambda own: Tls(client_cert=own.cert, client_key=encrypted_key(own)),
                     "tls-client-key", "it has a password", id="key encrypted"),
        pytest.param(lambda _: Tls(server_name=".x"), "tls-server-name", "no server has such",
                     id="name with a leading dot"),
        pytest.param(lambda _: Tls(server_name="a\nb"), "tls-server-name", "no server has such",
                     id="name with a line break"),
    ],
)  # fmt: skip
def test_an_option_that_can_not_be_used_is_named_before_anything_is_sent(
    certificates: Certificates, tls: object, option: str, reason: str
) -> None:
    assert callable(tls)

    with pytest.raises(TlsOptionError) as caught:
        connect("127.0.0.1:1", tls=tls(certificates))

    assert (caught.value.option, reason in caught.value.reason) == (option, True)
    assert str(caught.value).startswith(f'-{option} "{caught.value.value}": ')


# --- answers that are none


def call(handle: Handle, timeout: float = TIMEOUT) -> bytes:
    with raw_server(handle) as address, connect(address) as connection:
        return connection.call("/a/b", b"request", timeout)


NOT_FOUND = [("grpc-status", "5"), ("grpc-message", "a%20%zz%C3%BC")]
GZIP = [*GRPC, ("grpc-encoding", "gzip")]
BOMB = gzip.compress(bytes(client.MAX_MESSAGE + 1))


def test_an_answer_in_gzip_is_unpacked() -> None:
    answer = replying(headers=GZIP, body=message(gzip.compress(b"content"), 1))

    assert call(http2(answer)) == b"content"


@pytest.mark.parametrize(
    ("answer", "name", "details"),
    [
        pytest.param(replying(headers=GZIP, body=message(BOMB, 1)), "RESOURCE_EXHAUSTED",
                     "unpacked answer is longer", id="gzip bomb"),
        pytest.param(replying(headers=GZIP, body=message(b"no gzip", 1)), "INTERNAL",
                     "broken gzip", id="broken gzip"),
        pytest.param(replying(headers=GZIP, body=message(gzip.compress(b"x")[:-9], 1)), "INTERNAL",
                     "ends too early", id="cut gzip"),
        pytest.param(replying(body=message(b"x", 1)), "INTERNAL", 'compressed as "identity"',
                     id="compressed without saying how"),
        pytest.param(replying(body=b"\0\xff\xff\xff\xff"), "RESOURCE_EXHAUSTED", "longer than",
                     id="announces four gigabytes"),
        pytest.param(replying(body=message(b"a") + message(b"b")), "INTERNAL",
                     "without one whole message", id="two messages"),
        pytest.param(replying(), "INTERNAL", "without one whole message", id="no message"),
        pytest.param(replying(body=message(b"abc")[:-1]), "INTERNAL", "without one whole message",
                     id="cut message"),
        pytest.param(replying(headers=[*GRPC, *NOT_FOUND], trailers=[]), "NOT_FOUND", "a %zzü",
                     id="headers alone"),
        pytest.param(replying(trailers=[("grpc-status", "99")]), "CODE_99", "", id="new status"),
        pytest.param(replying(trailers=[("grpc-status", "-1")]), "UNKNOWN", "", id="no status"),
        pytest.param(replying(trailers=[("x", "y")]), "UNKNOWN",
                     "without gRPC's status (application/grpc)", id="status missing"),
        pytest.param(replying(headers=[(":status", "200"), ("content-type", "text/html")],
                              trailers=[]), "UNKNOWN", "(text/html)", id="a web page"),
        *(
            pytest.param(replying(headers=[(":status", status)], trailers=[]), name,
                         f"HTTP status {status}", id=f"HTTP {status}")
            for status, name in [
                ("400", "INTERNAL"), ("401", "UNAUTHENTICATED"), ("403", "PERMISSION_DENIED"),
                ("404", "UNIMPLEMENTED"), ("429", "UNAVAILABLE"), ("502", "UNAVAILABLE"),
                ("503", "UNAVAILABLE"), ("504", "UNAVAILABLE"), ("500", "UNKNOWN"),
            ]
        ),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_has_a_status(answer: Answer, name: str, details: str) -> None:
    with pytest.raises(RpcError) as caught:
        call(http2(answer))

    assert (caught.value.name, details in caught.value.details) == (name, True)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (ErrorCodes.NO_ERROR, "INTERNAL"),
        (ErrorCodes.PROTOCOL_ERROR, "INTERNAL"),
        (ErrorCodes.INTERNAL_ERROR, "INTERNAL"),
        (ErrorCodes.FLOW_CONTROL_ERROR, "INTERNAL"),
        (ErrorCodes.SETTINGS_TIMEOUT, "INTERNAL"),
        (ErrorCodes.STREAM_CLOSED, "UNKNOWN"),
        (ErrorCodes.FRAME_SIZE_ERROR, "INTERNAL"),
        (ErrorCodes.REFUSED_STREAM, "UNAVAILABLE"),
        (ErrorCodes.CANCEL, "CANCELLED"),
        (ErrorCodes.COMPRESSION_ERROR, "INTERNAL"),
        (ErrorCodes.CONNECT_ERROR, "INTERNAL"),
        (ErrorCodes.ENHANCE_YOUR_CALM, "RESOURCE_EXHAUSTED"),
        (ErrorCodes.INADEQUATE_SECURITY, "PERMISSION_DENIED"),
        (ErrorCodes.HTTP_1_1_REQUIRED, "UNKNOWN"),
    ],
    ids=lambda value: value.name if isinstance(value, ErrorCodes) else "",
)
def test_a_stream_that_is_reset_has_a_status(code: ErrorCodes, name: str) -> None:
    def reset(server: H2Connection, stream: int, _: socket.socket) -> None:
        server.reset_stream(stream, code)

    with pytest.raises(RpcError) as caught:
        call(http2(reset))

    assert caught.value.name == name
    assert caught.value.details == f"the server reset the stream ({code.name})"


def test_a_goaway_that_leaves_the_rpc_out_is_unavailable() -> None:
    def go_away(server: H2Connection, _: int, __: socket.socket) -> None:
        server.close_connection(0, b"too old", last_stream_id=0)

    with pytest.raises(RpcError) as caught:
        call(http2(go_away))

    assert str(caught.value) == "UNAVAILABLE: the server is going away (GOAWAY NO_ERROR: too old)"


def test_a_server_that_goes_away_may_still_answer_what_it_has() -> None:
    def drain_and_answer(server: H2Connection, stream: int, connection: socket.socket) -> None:
        connection.sendall(GOAWAY + b"\x7f\xff\xff\xff\0\0\0\0bye")
        replying(body=message(b"last words"))(server, stream, connection)

    with raw_server(http2(drain_and_answer)) as address, connect(address) as connection:
        assert connection.call("/a/b", b"", TIMEOUT) == b"last words"
        with pytest.raises(RpcError) as caught:
            connection.call("/a/b", b"", TIMEOUT)

    assert caught.value.details == "the server is going away (GOAWAY NO_ERROR: bye)"


@pytest.mark.parametrize(
    ("last", "name", "details"),
    [
        pytest.param(b"", "UNAVAILABLE", "the connection ended too early: the server closed it",
                     id="closes"),
        pytest.param(GOAWAY + b"\x7f\xff\xff\xff\0\0\0\x99bye", "UNAVAILABLE",
                     "too early: the server is going away (GOAWAY error 153: bye)",
                     id="says GOAWAY and closes"),
        pytest.param(b"\xff" * 100, "INTERNAL", "breaks the rules of HTTP/2: a frame of",
                     id="long frame"),
        pytest.param(b"\0\0\4\1\4\0\0\0\1\xff\xff\xff\xff", "INTERNAL",
                     "breaks the rules of HTTP/2", id="broken headers"),
        pytest.param(b"\0\0\0\x09\0\0\0\0\1", "INTERNAL", "breaks the rules of HTTP/2",
                     id="frame out of turn"),
    ],
)  # fmt: skip
def test_a_connection_that_ends_in_the_rpc_has_a_status(
    last: bytes, name: str, details: str
) -> None:
    def end(_: H2Connection, __: int, connection: socket.socket) -> None:
        connection.sendall(last)
        drain(connection)

    with pytest.raises(RpcError) as caught:
        call(http2(end))

    assert (caught.value.name, details in caught.value.details) == (name, True)


def test_a_server_that_never_answers_an_rpc_is_given_up() -> None:
    with pytest.raises(RpcError) as caught:
        call(http2(lambda *_: None), SHORT)

    assert str(caught.value) == "DEADLINE_EXCEEDED: no answer within 0.2s"


def test_a_server_that_admits_no_streams_is_unavailable() -> None:
    no_streams = b"\0\0\6\4\0\0\0\0\0\0\3\0\0\0\0"
    with pytest.raises(RpcError) as caught:
        call(saying(no_streams))

    assert str(caught.value) == "UNAVAILABLE: the server admits no RPC on this connection"


# --- what it costs


def test_the_client_imports_neither_grpc_nor_protobuf_nor_asyncio_nor_tls() -> None:
    costly = ["grpc", "google.protobuf", "asyncio", "ssl", "argparse", "encodings.idna"]
    program = (
        "import sys; from petsage_grpc.rpc.client import Connection, parse_address\n"
        "try: Connection.connect(parse_address('127.0.0.1:1'), 1)\n"
        f"except Exception: print([name for name in {costly} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )

    assert (done.stdout, done.stderr) == ("[]\n", "")

"""A TLS session that is resumed lets nobody in whose certificate has expired meanwhile."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import grpc.aio
import pytest
from cryptography import x509
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, ResponseReceived, StreamEnded, TrailersReceived

from petsage_grpc.plane.service import Service
from petsage_grpc.rpc import resumption
from petsage_grpc.rpc.resumption import RefuseExpired, has_expired
from tests.certificates import DAY, Authority, Secret
from tests.hostile.raw import EMPTY_MESSAGE, LIST, SMOKE_TEST, WATCH, grpc_headers
from tests.processes import PATIENCE
from tests.rpc.tls.conftest import CHECK, settings

EXPIRED = ("16", "the client certificate of the resumed TLS session has expired: begin another")
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


class Answer(NamedTuple):
    status: str
    details: str
    session: ssl.SSLSession | None
    reused: bool


@pytest.fixture
def context(authority: Authority, clients: Authority, tmp_path: Path) -> ssl.SSLContext:
    """A client whose certificate expires in two days."""
    made = ssl.create_default_context(cadata=authority.cert.decode())
    made.load_cert_chain(*clients.pair("me", days=2).write(tmp_path, "me"))
    made.set_alpn_protocols(["h2"])
    return made


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets days pass, for us; for TLS none does."""

    def pass_by(days: float) -> None:
        monkeypatch.setattr(resumption, "_now", lambda: time.time() + days * DAY)

    return pass_by


def call(
    address: str, context: ssl.SSLContext, path: str = CHECK, session: ssl.SSLSession | None = None
) -> Answer:
    """Make one call on a connection of its own, which resumes a session if one is given."""
    host, _, port = address.rpartition(":")
    found: dict[str, str] = {}
    with (
        socket.create_connection((host, int(port)), PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname="localhost", session=session) as line,
    ):
        http = H2Connection()
        http.initiate_connection()
        http.send_headers(1, grpc_headers(path))
        http.send_data(1, EMPTY_MESSAGE, end_stream=True)
        line.sendall(http.data_to_send())
        while data := line.recv(1 << 16):
            events = http.receive_data(data)
            for event in events:
                if isinstance(event, ResponseReceived | TrailersReceived):
                    headers = event.headers or []
                    found |= {bytes(key).decode(): bytes(text).decode() for key, text in headers}
            if any(isinstance(event, StreamEnded | ConnectionTerminated) for event in events):
                break
            line.sendall(http.data_to_send())
        status, details = found.get("grpc-status", ""), found.get("grpc-message", "")
        return Answer(status, details, line.session, bool(line.session_reused))


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_session_is_resumed_until_its_certificate_expires(
    version: ssl.TLSVersion, secret: Secret, context: ssl.SSLContext,
    later: Callable[[float], None],
) -> None:  # fmt: skip
    context.minimum_version = context.maximum_version = version
    async with Service(settings(secret, mutual=True)) as service:
        (address,) = service.addresses
        first = await asyncio.to_thread(call, address, context)
        assert first[:2] == ("0", "")
        again = await asyncio.to_thread(call, address, context, CHECK, first.session)
        assert (again.status, again.reused) == ("0", True)
        later(3)
        for path in (CHECK, LIST, WATCH, SMOKE_TEST):
            late = await asyncio.to_thread(call, address, context, path, first.session)
            assert late.reused
            assert late[:2] == EXPIRED
        anew = await asyncio.to_thread(call, address, context)
        assert (anew.status, anew.reused) == ("0", False), "TLS itself looks at those"


async def many(request: bytes, context: Any) -> AsyncIterator[bytes]:
    yield b"one"
    yield b"two"


def on_a_thread(request: bytes, context: Any) -> bytes:
    return b"one"


def many_on_a_thread(request: bytes, context: Any) -> Iterator[bytes]:
    yield b"one"
    yield b"two"


HANDLERS: dict[str, Any] = {
    "/own.Own/Many": grpc.unary_stream_rpc_method_handler(many),
    "/own.Own/OnAThread": grpc.unary_unary_rpc_method_handler(on_a_thread),
    "/own.Own/ManyOnAThread": grpc.unary_stream_rpc_method_handler(many_on_a_thread),
}


class Own(grpc.GenericRpcHandler):
    """Services of features, as they may be written."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return HANDLERS.get(handler_call_details.method)


@pytest.mark.parametrize("path", HANDLERS)
async def test_a_feature_is_not_asked_however_it_is_written(
    path: str, authority: Authority, clients: Authority, context: ssl.SSLContext,
    later: Callable[[float], None],
) -> None:  # fmt: skip
    pair = authority.pair()
    server = grpc.aio.server(interceptors=[RefuseExpired()], handlers=[Own()])
    given = grpc.ssl_server_credentials([(pair.key, pair.cert)], clients.cert, True)
    port = server.add_secure_port("127.0.0.1:0", given)
    await server.start()
    try:
        address = f"127.0.0.1:{port}"
        first = await asyncio.to_thread(call, address, context, path)
        assert first[:2] == ("0", "")
        assert (await asyncio.to_thread(call, address, context, "/own.Own/None")).status == "12"
        later(3)
        late = await asyncio.to_thread(call, address, context, path, first.session)
        assert late[:2] == EXPIRED
    finally:
        await server.stop(None)


@pytest.mark.parametrize("days", [1.0, 365.0 * 24, 365.0 * 40])
def test_the_end_of_a_certificate_is_read_in_both_of_its_forms(days: float) -> None:
    pem = Authority().pair("me", days=days).cert
    end = x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()
    assert resumption._end_of(pem) == end


def test_a_connection_that_is_open_when_its_certificate_expires_stays() -> None:
    pem = Authority().pair("me", days=-1).cert
    assert not has_expired({"ssl_session_reused": [b"false"], "x509_pem_cert": [pem]})
    assert has_expired({"ssl_session_reused": [b"true"], "x509_pem_cert": [pem]})
    assert not has_expired({})

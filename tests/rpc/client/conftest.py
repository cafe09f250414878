"""Real servers to call, certificates for them, and ways to call them and to fail."""

import contextlib
import ssl
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest
import trustme

from petsage_grpc.rpc.client import ConnectError, Connection, Tls, parse_address
from tests.rpc.client.raw_servers import Echo, Handle, raw_server

TIMEOUT = 5.0
SHORT = 0.2


def connect(address: str, timeout: float = TIMEOUT, tls: Tls | None = None) -> Connection:
    return Connection.connect(parse_address(address), timeout, tls)


def refusal(address: str, timeout: float = TIMEOUT, tls: Tls | None = None) -> ConnectError:
    """Fail to connect, within the timeout."""
    started = time.monotonic()
    with pytest.raises(ConnectError) as caught:
        connect(address, timeout, tls)
    assert time.monotonic() - started < timeout + SHORT
    return caught.value


def call(handle: Handle, timeout: float = TIMEOUT) -> bytes:
    with raw_server(handle) as address, connect(address) as connection:
        return connection.call("/a/b", b"request", timeout)


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

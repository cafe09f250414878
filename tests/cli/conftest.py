"""Runs the verb `probe` in this process, and the servers and certificates that it asks."""

import contextlib
import datetime
import gc
import threading
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
import trustme
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from petsage_grpc.cli import probe

Response = health_pb2.HealthCheckResponse


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

"""A real nginx with all that an HTTP server can answer, and how the checks are asked."""

import asyncio
import contextlib
import os
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from petsage_grpc.core.check import Check, CheckFailedError
from tests import faults
from tests.nginx import MissingServerError, Nginx, nginx_program

HOST = faults.HOST
PATIENCE = 5.0
"""Seconds after which a run that should have ended hangs."""
_SERVERS = ("database", "grpc", "http", "redis")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what takes minutes, for it has a command of its own: every such kind x every fault."""
    folders = [Path(__file__).parent / kind for kind in _SERVERS]
    for item in items:
        if item.path.parent in folders:
            item.add_marker(pytest.mark.faults)


async def passes(check: Check) -> None:
    """Run a check that must pass."""
    await asyncio.wait_for(check.run(), PATIENCE)


async def failure_of(check: Check) -> str:
    """Run a check that must fail; return what it says, which is always one line."""
    with pytest.raises(CheckFailedError) as failed:
        await asyncio.wait_for(check.run(), PATIENCE)
    said = str(failed.value)
    assert said.isprintable()
    assert said == check.redact(said), "it shows a secret"
    return said


async def timeout_of(check: Check, seconds: float = 0.3) -> str:
    """Run a check that must not end in time; return what it was doing."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(check.run(), seconds)
    return check.doing


@contextlib.contextmanager
def nothing_leaks() -> Iterator[None]:
    """See that the block leaves neither a task nor a descriptor behind."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}
    # Fewer are no leak: what other tests have left may be closed meanwhile.
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[int]:
    """Serve on a port as a handler does; a connection that breaks is its end."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await handler(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(handle, HOST, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@contextlib.contextmanager
def hearing_farewells(context: ssl.SSLContext, words: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Say these words over TLS, and keep how the other end leaves: b"" is in good order."""
    heard: list[bytes] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.settimeout(PATIENCE)
                with context.wrap_socket(
                    connection, server_side=True, suppress_ragged_eofs=False
                ) as tls:
                    tls.sendall(words)
                    try:
                        while said := tls.recv(65536):
                            pass
                    except OSError as error:
                        said = str(error).encode()
                    heard.append(said)

    with socket.create_server((HOST, 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1], heard
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@dataclass(frozen=True)
class TlsFiles:
    """The authority, and a certificate with its key from it."""

    ca: Path
    certificate: Path
    key: Path


@pytest.fixture(scope="session")
def tls_files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    folder = tmp_path_factory.mktemp("tls")
    return TlsFiles(faults.write_authority(folder), *faults.write_certificate(folder))


NGINX_PASSWORD = "m1ce-m1ce-m1ce"
_CODES = (204, 400, 401, 403, 404, 405, 418, 429, 500, 503, 599)
_ECHO = " ".join(
    f"{name}={variable};"
    for name, variable in {
        "asked": "$request_method $request_uri", "host": "$http_host", "agent": "$http_user_agent",
        "token": "$http_x_token", "authorization": "$http_authorization",
        "requests": "$connection_requests", "encoding": "$http_accept_encoding",
        "connection": "$http_connection", "cookie": "$http_cookie",
    }.items()
)  # fmt: skip
_PLACES = f"""
    location / {{ return 200 "all is well"; }}
    location /echo {{ return 200 "{_ECHO}"; }}
    location = /private {{
        auth_basic "cats only"; auth_basic_user_file users; root .; try_files /users =404;
    }}
    location /moved {{ return 301 /echo; }}
    location /circle {{ return 302 /circle; }}
    location /ftp {{ return 302 ftp://localhost/; }}
    location /nowhere {{ return 302 http://[zz]/; }}
    location /away {{ return 302 http://localhost:$arg_port/echo; }}
""" + "".join(f"location = /code/{code} {{ return {code}; }}\n" for code in _CODES)


@dataclass(frozen=True)
class Site:
    """An nginx and its ports."""

    nginx: Nginx
    plain: int
    other: int
    tls: int
    expired: int
    other_name: int
    demanding: int
    socket: Path


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, tls_files: TlsFiles) -> Iterator[Site]:
    try:
        nginx_program()
    except MissingServerError as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    expired = faults.write_certificate(tmp_path_factory.mktemp("expired"), expired=True)
    other = faults.write_certificate(tmp_path_factory.mktemp("other"), host="ledger.example")
    ours = (tls_files.certificate, tls_files.key)
    nginx = Nginx()
    demand = f"ssl_client_certificate {tls_files.ca}; ssl_verify_client on;"
    site = Site(
        nginx,
        plain=nginx.add(_PLACES),
        other=nginx.add(_PLACES),
        tls=nginx.add(_PLACES, tls=ours),
        expired=nginx.add(_PLACES, tls=expired),
        other_name=nginx.add(_PLACES, tls=other),
        demanding=nginx.add(demand + _PLACES, tls=ours),
        socket=nginx.add_socket(_PLACES),
    )
    users = nginx.folder / "users"
    users.write_text(f"cat:{{PLAIN}}{NGINX_PASSWORD}\n")
    users.chmod(0o644)
    nginx.folder.chmod(0o755)
    nginx.start()
    try:
        yield site
    finally:
        nginx.remove()

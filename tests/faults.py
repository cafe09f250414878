"""The faults of a network, for real: what every check that reaches outside must tell apart."""

import contextlib
import datetime
import os
import random
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import trustme

from tests.processes import wait_for_state

HOST = "127.0.0.1"
_NO_CLIENTS = 10_000, 30_000
"""Ports below those that Linux gives to clients."""
UNRESOLVABLE = "nobody.invalid"
"""A host that no DNS server may know (RFC 2606)."""
GARBAGE = b"\x00\xff\x13\x37 this is no protocol \r\n\r\n" * 8


def free_port() -> int:
    """Find a port that nobody has now, and that no client gets from the system meanwhile."""
    while True:
        port = random.SystemRandom().randrange(*_NO_CLIENTS)  # whatever a test has seeded
        with contextlib.suppress(OSError), socket.create_server((HOST, port)):
            return port


@contextlib.contextmanager
def refused() -> Iterator[int]:
    """Hold a port on which nobody listens."""
    with socket.socket() as holder:
        holder.bind((HOST, 0))
        yield holder.getsockname()[1]


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """Hold a port that drops what comes, as a firewall does: its backlog is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((HOST, 0), backlog=0))
        address = listener.getsockname()
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        yield address[1]


@contextlib.contextmanager
def silent() -> Iterator[int]:
    """Hold a port where every connection is accepted and nothing is ever said."""
    with socket.create_server((HOST, 0), backlog=128) as listener:
        yield listener.getsockname()[1]


@contextlib.contextmanager
def speaking(words: bytes = GARBAGE, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Hold a port where every connection hears these words, whatever it says, and is closed."""

    def serve_one(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(5)
            wrapped = tls.wrap_socket(connection, server_side=True) if tls else connection
            with wrapped:
                wrapped.sendall(words)
                wrapped.shutdown(socket.SHUT_WR)
                while wrapped.recv(65536):
                    pass

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve_one, args=(connection,), daemon=True).start()

    with socket.create_server((HOST, 0), backlog=128) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextlib.contextmanager
def stopped(process: "subprocess.Popen[bytes] | subprocess.Popen[str] | int") -> Iterator[None]:
    """Stop a process for the block (SIGSTOP): the kernel accepts for it, and it never answers."""
    pid = process if isinstance(process, int) else process.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_for_state(pid, "T")  # kill() returns before the threads have got the signal
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@cache
def authority() -> trustme.CA:
    """Make the authority that signs the tests' certificates."""
    return trustme.CA()


def write_authority(folder: Path) -> Path:
    """Write the authority's certificate, for a client to trust."""
    path = folder / "ca.pem"
    authority().cert_pem.write_to_path(path)
    return path


def write_certificate(
    folder: Path, *, host: str = "localhost", expired: bool = False
) -> tuple[Path, Path]:
    """Write a certificate for localhost and 127.0.0.1 and its key, as a server wants them."""
    day = datetime.timedelta(days=1)
    now = datetime.datetime.now(datetime.UTC)
    names = (host, HOST) if host == "localhost" else (host,)
    issued = authority().issue_cert(
        *names, not_before=now - 3 * day, not_after=now - day if expired else now + day
    )
    certificate, key = folder / "server.pem", folder / "server.key"
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    key.chmod(0o644)  # servers drop their privileges before they read it
    return certificate, key


def server_tls(folder: Path, *, host: str = "localhost", expired: bool = False) -> ssl.SSLContext:
    """Make the TLS of a server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*write_certificate(folder, host=host, expired=expired))
    return context

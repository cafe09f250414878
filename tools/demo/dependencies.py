"""The four dependencies of the demonstration: real servers, each a process that can be hurt."""

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote

from tests import databases, nginx, redis_servers
from tests.faults import HOST, free_port, stopped
from tests.processes import PATIENCE, PETSAGE, clean_environment

__all__ = ["DEPENDENCIES", "Dependency"]


class Server(Protocol):
    """What can be done to a server."""

    def start(self) -> None:
        """Start it, and return as soon as it takes connections."""

    def kill(self) -> None:
        """End it without warning (kill -9)."""

    def frozen(self) -> contextlib.AbstractContextManager[None]:
        """Stop it for the block (SIGSTOP): it accepts, and never answers."""


@dataclass(frozen=True)
class Dependency:
    """A server that runs, and the check of it."""

    what: str
    """What it is, for people."""
    server: Server
    kind: str
    setting: str
    """The setting of its kind that says where it is."""
    place: str
    """What is set there; it goes through a variable where there is a password in it."""
    secret: bool = False


class _Program:
    """A server written in Python.

    Args:
        command: runs it in the foreground.
        answers: says whether it does what it is there for.
    """

    def __init__(self, command: list[str], answers: Callable[[], bool]) -> None:
        self._command = command
        self._answers = answers
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        nothing = subprocess.DEVNULL
        self._process = subprocess.Popen(
            self._command, stdin=nothing, stdout=nothing, stderr=nothing, env=clean_environment()
        )
        give_up = time.monotonic() + PATIENCE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"it does not start: {' '.join(self._command)}")
            time.sleep(0.01)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)

    def frozen(self) -> contextlib.AbstractContextManager[None]:
        assert self._process is not None
        return stopped(self._process)


@contextlib.contextmanager
def _postgres() -> Iterator[Dependency]:
    with tempfile.TemporaryDirectory(prefix="postgres-") as name:
        folder = Path(name, "server")  # PostgreSQL runs as another user than root
        folder.mkdir()
        folder.parent.chmod(0o755)
        server = databases.PostgresServer(folder, free_port())
        user = f"{databases.USER}:{quote(databases.PASSWORD, safe='')}"
        url = f"postgresql://{user}@{HOST}:{server.port}/postgres"
        what = f"{databases.postgres_programs() / 'postgres'} on port {server.port}"
        try:
            server.create()
            server.start()
            yield Dependency(what, server, "database", "url", url, secret=True)
        finally:
            server.kill()


@contextlib.contextmanager
def _redis() -> Iterator[Dependency]:
    with redis_servers.running() as server:
        what = f"{redis_servers.redis_program()} on port {server.port}"
        yield Dependency(what, server, "redis", "url", f"redis://{HOST}:{server.port}/0")


@contextlib.contextmanager
def _http() -> Iterator[Dependency]:
    server: nginx.Nginx | _Program
    with contextlib.ExitStack() as stack:
        try:
            program = nginx.nginx_program()
        except nginx.MissingServerError:
            program, port = "Python's http.server, for there is no nginx,", free_port()
            empty = stack.enter_context(tempfile.TemporaryDirectory(prefix="menu-"))
            command = [sys.executable, "-m", "http.server", str(port), "-b", HOST, "-d", empty]
            server = _Program(command, lambda: _accepts(port))
            stack.callback(server.kill)
        else:
            server = nginx.Nginx()
            stack.callback(server.remove)
            port = server.add('location / { return 200 "purring"; }')
        server.start()
        what = f"{program} on port {port}"
        yield Dependency(what, server, "http", "url", f"http://{HOST}:{port}/")


@contextlib.contextmanager
def _grpc() -> Iterator[Dependency]:
    port = free_port()
    address = f"{HOST}:{port}"
    probe = [*PETSAGE, "probe", "-addr", address]

    def serving() -> bool:
        return not subprocess.run(probe, capture_output=True, check=False).returncode

    server = _Program([*PETSAGE, "serve", "--listen", address], serving)
    try:
        server.start()
        what = f"a second petsage-grpc on port {port}"
        yield Dependency(what, server, "grpc", "address", address)
    finally:
        server.kill()


def _accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex((HOST, port)) == 0


DEPENDENCIES: Final = {"orders-db": _postgres, "cache": _redis, "menu": _http, "ledger": _grpc}
"""How each is started, by the name of its check."""

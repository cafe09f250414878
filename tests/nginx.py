"""Runs a real nginx as a process, for tests, benchmarks and demonstrations."""

import contextlib
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from tests import faults

PATIENCE = 20.0
"""Seconds after which a server that should have started, said or done something has failed."""

_CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr notice;
events {{ worker_connections 128; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    default_type text/plain;
{servers}
}}
"""

_SERVER = """
    server {{
        listen {listen};
{settings}
    }}
"""


class MissingServerError(Exception):
    """The server is not installed; says which command brings it."""


def nginx_program() -> str:
    """Find nginx."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise MissingServerError("no nginx: apt-get install nginx-light")
    return found


class Nginx:
    """A server that can be started, killed and frozen; what it said is in `lines`.

    It is one process alone, so that a signal reaches all of it.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="nginx-"))
        self.lines: list[str] = []
        self._servers: list[str] = []
        self._ports: set[int] = set()
        self._more = threading.Condition()
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    @property
    def process(self) -> "subprocess.Popen[str]":
        assert self._process is not None
        return self._process

    def add(self, settings: str, *, tls: tuple[Path, Path] | None = None) -> int:
        """Have it listen on one more port, before it is started; return the port."""
        while (port := faults.free_port()) in self._ports:  # it is not taken before the start
            pass
        self._ports.add(port)
        if tls is not None:
            settings = f"ssl_certificate {tls[0]}; ssl_certificate_key {tls[1]};\n{settings}"
        listen = f"{faults.HOST}:{port}{' ssl' if tls else ''}"
        self._servers.append(_SERVER.format(listen=listen, settings=settings))
        return port

    def add_socket(self, settings: str) -> Path:
        """Have it listen on a Unix socket, before it is started; return the path."""
        path = self.folder / f"socket-{len(self._servers)}"
        self._servers.append(_SERVER.format(listen=f"unix:{path}", settings=settings))
        return path

    def start(self) -> None:
        """Start it and wait until it listens."""
        configuration = self.folder / "nginx.conf"
        configuration.write_text(
            _CONFIGURATION.format(folder=self.folder, servers="".join(self._servers))
        )
        seen = len(self.lines)
        self._process = subprocess.Popen(
            [nginx_program(), "-p", str(self.folder), "-e", "stderr", "-c", str(configuration)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        self.wait_for(r" nginx/[0-9]", since=seen)  # said once all ports are open

    def wait_for(self, pattern: str, since: int = 0) -> None:
        """Wait until it has said something."""

        def said() -> bool:
            return any(re.search(pattern, line) for line in self.lines[since:])

        with self._more:
            self._more.wait_for(lambda: said() or self.process.poll() is not None, PATIENCE)
            assert said(), f"nginx did not say {pattern!r}: {self.lines[since:]}"

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                with self._more:
                    self.lines.append(line.rstrip("\n"))
                    self._more.notify_all()
        process.wait()
        with self._more:
            self._more.notify_all()

    def kill(self) -> None:
        """End it without warning (kill -9)."""
        if self._process is not None and self._reader is not None:
            self._process.kill()
            self._process.wait(PATIENCE)
            self._reader.join(PATIENCE)
            self._process = None
            for path in self.folder.glob("socket-*"):  # it refuses to take over one that was left
                path.unlink()

    @contextlib.contextmanager
    def killed(self) -> Iterator[None]:
        """Kill it, and start it anew at the end of the block."""
        self.kill()
        try:
            yield
        finally:
            self.start()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop it for the block (SIGSTOP): it accepts, and never answers."""
        with faults.stopped(self.process):
            yield

    def remove(self) -> None:
        """End it, and remove what it has written."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

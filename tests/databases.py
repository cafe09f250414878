"""Runs real PostgreSQL and MariaDB servers as processes: for tests, benchmarks and the demo."""

import abc
import contextlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped] # brings no types; pgserver needs it anyway

from tests.processes import wait_for_state

HOST = "127.0.0.1"
USER = "petsage"
PASSWORD = "p@ss/w:rd %41"
"""One that a URL must quote."""
DATABASE = "petsage"
PATIENCE = 20.0
"""Seconds after which a server that should have started or ended has failed."""


class MissingServerError(Exception):
    """The server is not installed; says which command brings it."""


def postgres_programs() -> Path:
    """Find where PostgreSQL's programs are: those of the system, or those of the wheel.

    The wheel's know no TLS. The variable POSTGRES_PROGRAMS names other ones.
    """
    if named := os.environ.get("POSTGRES_PROGRAMS"):
        return Path(named)
    if found := shutil.which("postgres"):
        return Path(found).parent
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if debian:
        return debian[-1].parent
    wheel = importlib.util.find_spec("pgserver")
    if wheel is None or wheel.origin is None:
        raise MissingServerError("no PostgreSQL server: pip install pgserver")
    return Path(wheel.origin).parent / "pginstall" / "bin"


def mariadb_program(name: str) -> str:
    """Find a program of MariaDB's server."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise MissingServerError("no MariaDB server: apt-get install mariadb-server")
    return found


class DatabaseServer(abc.ABC):
    """A server that can be started, stopped, killed and frozen; what it said is in `lines`.

    Args:
        folder: where its data are; another user must find the way there when we are root.
        port: where it listens.
    """

    ready: str
    """The pattern of the line with which it says that it takes connections."""
    fast_stop: signal.Signals
    """Ends it at once, but in good order."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.lines: list[str] = []
        self._more = threading.Condition()
        self._silent = False  # whether it has said its last
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    @abc.abstractmethod
    def command(self) -> Sequence[str]:
        """Return the command that runs it in the foreground."""

    @abc.abstractmethod
    def execute(self, *statements: str) -> list[Any]:
        """Execute statements as its administrator; return the rows of the last one."""

    @property
    def process(self) -> "subprocess.Popen[str]":
        assert self._process is not None
        return self._process

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, *options: str, until: str = "") -> None:
        """Start it and wait until it says that it is ready, or something else."""
        seen, self._silent = len(self.lines), False
        self._process = subprocess.Popen(
            [*self.command(), *options], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, errors="replace", cwd=self.folder,
            env=_environment(), **_unprivileged(),
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        self.wait_for(until or self.ready, since=seen)

    def wait_for(self, pattern: str, since: int = 0) -> None:
        """Wait until it has said something."""

        def said() -> bool:
            return any(re.search(pattern, line) for line in self.lines[since:])

        with self._more:
            self._more.wait_for(lambda: said() or self._silent, PATIENCE)
            assert said(), f"the server did not say {pattern!r}: {self.lines[since:]}"

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                with self._more:
                    self.lines.append(line.rstrip("\n"))
                    self._more.notify_all()
        with self._more:
            self._silent = True
            self._more.notify_all()

    def stop(self) -> None:
        """End it in good order; connections are ended too."""
        if self._process is not None:
            self._process.send_signal(self.fast_stop)
            self._end()

    def kill(self) -> None:
        """End it without warning (kill -9), and return when all of its processes are gone.

        While one of PostgreSQL's lives, what they share in memory keeps a new server from starting.
        """
        if self._process is None:
            return
        processes = []
        with contextlib.suppress(psutil.NoSuchProcess):  # it may have ended by itself
            processes = [*self._processes()]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._end()
        end = time.monotonic() + PATIENCE
        while any(map(_lives, processes)) and time.monotonic() < end:
            time.sleep(0.005)

    def _end(self) -> None:
        self.process.wait(PATIENCE)
        assert self._reader is not None
        self._reader.join(PATIENCE)
        self._process = None

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop all of its processes for the block (SIGSTOP): it accepts, and never answers."""
        stopped = []
        try:
            for process in self._processes():  # the parent first, which starts others
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.suspend()
                    stopped.append(process)
                    wait_for_state(process.pid, "T")
            yield
        finally:
            for process in stopped:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()

    def _processes(self) -> Iterator[Any]:
        """Tell the process that was started, and then those that it has started."""
        parent = psutil.Process(self.process.pid)
        yield parent
        yield from parent.children(recursive=True)


class PostgresServer(DatabaseServer):
    """PostgreSQL on a TCP port, with SCRAM passwords."""

    ready = "database system is ready to accept connections"
    fast_stop = signal.SIGINT
    slow_stop = signal.SIGTERM
    """Ends it when the last client has left; new ones are refused."""

    def create(self, settings: Mapping[str, str] | None = None) -> None:
        """Create its data, with settings of its configuration."""
        password = self.folder / "password"
        password.write_text(PASSWORD)
        _run(
            self.folder, postgres_programs() / "initdb", "-D", self.data, "-U", USER, "-A",
            "scram-sha-256", "--pwfile", password, "-E", "UTF8", "--locale=C", "--no-sync",
        )  # fmt: skip
        quick = {"fsync": "off", "shared_buffers": "16MB", "max_connections": "20"}
        own = {"listen_addresses": HOST, "unix_socket_directories": "", "port": str(self.port)}
        with (self.data / "postgresql.conf").open("a") as file:
            for name, value in {**quick, **own, **(settings or {})}.items():
                file.write(f"{name} = '{value}'\n")

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def command(self) -> Sequence[str]:
        return [str(postgres_programs() / "postgres"), "-D", str(self.data)]

    def execute(self, *statements: str) -> list[Any]:
        with self.connect() as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def connect(self) -> Any:
        """Connect as its administrator."""
        import psycopg  # noqa: PLC0415 -- who runs no PostgreSQL needs none of it

        return psycopg.connect(
            host=HOST, port=self.port, user=USER, password=PASSWORD, dbname="postgres",
            autocommit=True, connect_timeout=int(PATIENCE),
        )  # fmt: skip


class MariaDBServer(DatabaseServer):
    """MariaDB on a TCP port."""

    ready = "ready for connections"
    fast_stop = signal.SIGTERM

    def create(self) -> None:
        """Create its data."""
        _run(
            self.folder, mariadb_program("mariadb-install-db"), "--no-defaults",
            f"--datadir={self.data}", self._own_tables, "--skip-test-db", "--skip-name-resolve",
            "--auth-root-authentication-method=normal", "--innodb-flush-method=nosync",
            "--innodb-log-file-size=4M", "--innodb-buffer-pool-size=16M",
        )  # fmt: skip
        (self.folder / "init.sql").write_text(
            f"CREATE DATABASE IF NOT EXISTS {DATABASE};\n"
            f"CREATE USER IF NOT EXISTS {USER}@'%' IDENTIFIED BY '{PASSWORD}';\n"
            f"GRANT ALL ON *.* TO {USER}@'%' WITH GRANT OPTION;\n"
        )

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def _own_tables(self) -> str:
        # a server that starts deletes the temporary tables of all that share its folder
        return f"--tmpdir={self.folder}"

    def command(self) -> Sequence[str]:
        return [
            mariadb_program("mariadbd"), "--no-defaults", f"--datadir={self.data}",
            self._own_tables, f"--port={self.port}", f"--bind-address={HOST}",
            f"--socket={self.folder}/socket", f"--pid-file={self.folder}/pid",
            f"--init-file={self.folder}/init.sql",
            "--skip-name-resolve", "--skip-log-bin", "--innodb-flush-method=nosync",
            "--innodb-log-file-size=4M", "--innodb-buffer-pool-size=16M",
            "--performance-schema=OFF",
        ]  # fmt: skip

    def execute(self, *statements: str) -> list[Any]:
        import pymysql  # type: ignore[import-untyped] # noqa: PLC0415 -- who runs no MariaDB needs none; brings no types

        connection = pymysql.connect(
            host=HOST, port=self.port, user=USER, password=PASSWORD, autocommit=True,
            connect_timeout=int(PATIENCE), read_timeout=PATIENCE,
        )  # fmt: skip
        with connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())


def _lives(process: Any) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def own_folder(folder: Path) -> None:
    """Give a folder to the user as whom servers run: none of them runs as root."""
    if who := _unprivileged():
        os.chown(folder, who["user"], who["group"])


def _unprivileged() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C", "TZ": "UTC"}


def _run(folder: Path, *command: "str | Path") -> None:
    own_folder(folder)
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, capture_output=True, text=True,
        timeout=6 * PATIENCE, check=False, env=_environment(), **_unprivileged(),
    )  # fmt: skip
    assert done.returncode == 0, f"{command[0]} failed: {done.stdout}{done.stderr}"


@contextlib.contextmanager
def running(server: DatabaseServer, create: Callable[[], None]) -> Iterator[None]:
    """Create a server and run it for the block."""
    create()
    server.start()
    try:
        yield
    finally:
        server.kill()

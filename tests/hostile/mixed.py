"""Mixed load, faults of dependencies, renewed certificates and restarts, with an oracle."""

import contextlib
import json
import random
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from petsage_grpc.core.policy import Policy
from petsage_grpc.core.units import Duration
from petsage_grpc.rpc.client import ClientError, Connection, parse_address
from petsage_grpc.rpc.client.health_codec import CHECK, decode_status, encode_request, status_name
from petsage_grpc.rpc.client.tls import Tls
from tests import faults, nginx, redis_servers
from tests.hostile import tasks
from tests.hostile.figures import Figure
from tests.hostile.oracle import Answer, Oracle
from tests.hostile.subjects import Body, complaints, wait_until
from tests.processes import PATIENCE, Served, served, settings_file

__all__ = ["mixed"]

_POLICY: Final = Policy(
    interval=Duration(0.5), timeout=Duration(1.0), edge_interval=Duration(0.2), fall=2, rise=2
)
_KINDS: Final = {"cache": "redis", "menu": "http", "door": "tcp"}
_GHZ: Final = Path(__file__).parents[1] / "clients" / "bin" / "ghz"
_RATE: Final = 200
"""Calls a second of the load."""
_PERIOD: Final = 0.1
_DEADLINE: Final = 1.0
_LAST: Final = 1 / 3
"""The part of the time that the last life has: what leaks a little is seen in a long one."""
_HOLD: Final = (0.1, 6.0)
"""Seconds that a fault, or its absence, lasts."""
_SPARE: Final = 8
"""Descriptors or tasks more that are no leak: connections and calls come and go."""
_EXPLAINED: Final = (r"petsage_grpc\.monitor: check (cache|menu|door) (failed:|is failing,)",)
"""Lines above INFO that the faults cause; the oracle judges whether they were right."""
_LOAD_MAY_END: Final = ("OK", "Unavailable", "Canceled")
"""How calls of the load may end, while the service is ended and started."""


_Kept = dict[str, int]
"""How many more of a thing there are."""


class _Server(Protocol):
    def start(self) -> None: ...
    def kill(self) -> None: ...
    def frozen(self) -> contextlib.AbstractContextManager[None]: ...


@dataclass(frozen=True)
class _Stage:
    """What all threads of the run share."""

    oracle: Oracle
    over: threading.Event
    address: str
    authority: Path
    folder: Path
    troubles: list[str]
    """What broke in the kit itself."""
    load: Counter[str]
    """How the calls of the load ended."""

    def play(self, act: Callable[["_Stage"], None]) -> threading.Thread:
        """Do something on a thread until it is over; what breaks there is told."""

        def run() -> None:
            try:
                act(self)
            except Exception as error:  # noqa: BLE001 -- whatever it is, the run has not been right
                self.troubles.append(repr(error))

        thread = threading.Thread(target=run)
        thread.start()
        return thread


def _hurt(server: _Server, names: list[str]) -> Callable[[_Stage], None]:
    """Kill, freeze and mend a server again and again, and tell the oracle."""

    def tell(stage: _Stage, up: "bool | None") -> None:
        for name in names:
            if up is None:
                stage.oracle.changes(name)
            else:
                stage.oracle.is_so(name, up=up)

    def act(stage: _Stage) -> None:
        while not stage.over.wait(random.uniform(*_HOLD)):
            freezes = random.random() < 0.5
            with contextlib.ExitStack() as mended:
                tell(stage, None)
                if freezes:  # the kernel accepts for a frozen one: the check of tcp can not see it
                    mended.enter_context(server.frozen())
                    for name in names:
                        if _KINDS[name] != "tcp":
                            stage.oracle.is_so(name, up=False)
                else:
                    server.kill()
                    tell(stage, False)
                stage.over.wait(random.uniform(*_HOLD))
                tell(stage, None)
                if not freezes:
                    server.start()
            tell(stage, True)

    return act


def _ask(name: str, *, keep: bool) -> Callable[[_Stage], None]:
    """Ask for Check again and again."""

    def act(stage: _Stage) -> None:
        connection, tls = None, Tls(ca_cert=str(stage.authority))
        while not stage.over.wait(_PERIOD):
            begun = time.monotonic()
            try:
                if connection is None:
                    connection = Connection.connect(parse_address(stage.address), _DEADLINE, tls)
                said = status_name(decode_status(
                    connection.call(CHECK, encode_request(name), _DEADLINE)
                ))  # fmt: skip
            except ClientError as error:
                said = str(error)
            stage.oracle.answers.append(Answer(name, begun, time.monotonic(), said))
            if connection is not None and (not keep or "SERVING" not in said):
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    return act


def _watch(name: str) -> Callable[[_Stage], None]:
    """Watch, and again when the service has ended it."""

    def act(stage: _Stage) -> None:
        request = HealthCheckRequest(service=name).SerializeToString()
        trusted = grpc.ssl_channel_credentials(stage.authority.read_bytes())
        while not stage.over.wait(_PERIOD):
            with grpc.secure_channel(stage.address, trusted) as channel:
                method: grpc.UnaryStreamMultiCallable[bytes, bytes]
                method = channel.unary_stream("/grpc.health.v1.Health/Watch")
                call = method(request)
                ender = threading.Thread(target=lambda c=call: stage.over.wait() and c.cancel())
                ender.daemon = True
                ender.start()
                said, since = "", 0.0
                with contextlib.suppress(grpc.RpcError):
                    for raw in call:
                        now = time.monotonic()
                        if said:
                            stage.oracle.answers.append(Answer(name, since, now, said, True))
                        status = HealthCheckResponse.FromString(raw).status
                        said, since = HealthCheckResponse.ServingStatus.Name(status), now
                if said:
                    now = time.monotonic() - _DEADLINE  # it may have been cut off before we knew
                    stage.oracle.answers.append(Answer(name, since, max(since, now), said, True))

    return act


def _renew(stage: _Stage) -> None:
    """Renew the certificate by a swap of symlinks, as Kubernetes does."""
    number = 0
    while not stage.over.wait(1.5):
        number += 1
        _swap(stage.folder, number)


def _swap(folder: Path, number: int) -> None:
    fresh, link = folder / f"tls-{number}", folder / "tls.new"
    fresh.mkdir()
    faults.write_certificate(fresh)
    link.symlink_to(fresh)
    link.replace(folder / "tls")


def _load(stage: _Stage) -> None:
    """Call at a steady rate, from a client that begins again when the service has restarted."""
    host, _, port = stage.address.rpartition(":")
    while not stage.over.is_set() and _GHZ.exists():
        ran = subprocess.run(
            [str(_GHZ), "--cacert", str(stage.authority), "--call", "grpc.health.v1.Health.Check",
             "--cname", "localhost", "-r", str(_RATE), "-z", "2s", "-O", "json",
             f"{host}:{port}"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30, check=False,
        )  # fmt: skip
        if ran.stdout:  # nothing, when it could not even connect
            stage.load.update(json.loads(ran.stdout)["statusCodeDistribution"])


@contextlib.contextmanager
def _dependencies() -> Iterator[tuple[redis_servers.RedisServer, nginx.Nginx, int]]:
    with contextlib.ExitStack() as stack:
        cache = stack.enter_context(redis_servers.running())
        web = nginx.Nginx()
        stack.callback(web.remove)
        port = web.add('location / { return 200 "purring"; }')
        web.start()
        yield cache, web, port


def _settings(folder: Path, cache: str, web: str) -> Path:
    places = {"cache": f'url = "redis://{cache}/0"', "menu": f'url = "http://{web}/"',
              "door": f'address = "{web}"'}  # fmt: skip
    tls = [f'tls_cert = "{folder}/tls/server.pem"', f'tls_key = "{folder}/tls/server.key"']
    lines = ["drain_delay = 0.2", "grace = 2", *tls]
    for name, kind in _KINDS.items():
        lines += [f"[checks.{name}]", f'kind = "{kind}"', places[name], "gates = []"]
        for key in ("interval", "timeout", "edge_interval", "fall", "rise"):
            lines.append(f"{key} = {getattr(_POLICY, key):g}")
    lines += ["[checks.tasks]", 'kind = "python"', f'function = "{tasks.NAME}"', "gates = []"]
    lines += [f"interval = {_POLICY.edge_interval:g}"]
    lines += ["[groups]", *(f'"{name}" = ["{name}"]' for name in _KINDS)]
    return settings_file(folder, *lines)


def mixed(folder: Path, seconds: float, restarts: int, *, timed: bool) -> Iterator[Figure]:
    """Run it for so long; the service is ended and started anew so many times.

    Args:
        folder: for files.
        seconds: how long.
        restarts: how many.
        timed: whether answers that come too late are judged; a short run has one noise in it.
    """
    with _dependencies() as (cache, web, port):
        faults.write_authority(folder)
        _swap(folder, 0)
        config = _settings(folder, cache.address, f"{faults.HOST}:{port}")
        address = f"{faults.HOST}:{_steady_port()}"
        oracle = Oracle(_POLICY)
        for name in _KINDS:
            oracle.is_so(name, up=True)
        over = threading.Event()
        stage = _Stage(oracle, over, address, folder / "ca.pem", folder, [], Counter())
        acts = [_hurt(cache, ["cache"]), _hurt(web, ["menu", "door"]), _renew, _load]
        for name in _KINDS:
            acts += [_ask(name, keep=True), _ask(name, keep=False), _watch(name)]
        lines, codes, kept = list[str](), list[int](), list[_Kept]()
        life = seconds * (1 - _LAST) / restarts
        threads: list[threading.Thread] = []
        try:
            for number in range(restarts + 1):
                arguments, counted = ("--config", str(config), f"--listen={address}"), folder / "n"
                with served(*arguments, **{tasks.VARIABLE: str(counted)}) as service:
                    oracle.serves()
                    threads = threads or [stage.play(act) for act in acts]
                    lasts = life if number < restarts else seconds * _LAST
                    kept.append(_live(service, counted, lasts, stage.troubles))
                    oracle.leaves()
                    killed = number % 3 == 2
                    service.signal(signal.SIGKILL if killed else signal.SIGTERM)
                    codes += [service.end()] if not killed else []
                    lines += service.lines
        finally:
            over.set()
            for thread in threads:
                thread.join()
    wrong, bad = [*oracle.wrong(), *stage.troubles], complaints(lines, _EXPLAINED)
    missed = [*oracle.missed()]
    renewed = sum("the files have changed, and are in use" in line for line in lines)
    who = f"{seconds:g} s of load, faults, {restarts} restarts"
    told = f"{len(wrong)} of {len(oracle.answers)} answers {wrong[:3] or ''}"
    yield Figure(f"{who}: wrong", told, target="0", met=not wrong)
    yield Figure(
        "  not answered within 1 s", f"{len(missed)} {missed[:2] or ''}", target="0",
        met=not missed if timed else None,
    )  # fmt: skip
    yield Figure("  certificates taken into use", f"{renewed}", target="> 0", met=renewed > 0)
    yield Figure(
        "  exit codes of stops", f"{sorted(set(codes))}", target="[0]", met=set(codes) == {0}
    )
    yield Figure("  lines without a cause", f"{len(bad)} {bad[:2] or ''}", target="0", met=not bad)
    yield Figure(
        "  calls of the load", ", ".join(f"{n:,} {how}" for how, n in stage.load.most_common()),
        target="nothing odd", met=set(stage.load) <= set(_LOAD_MAY_END),
    )  # fmt: skip
    most = {thing: max(life[thing] for life in kept) for thing in kept[0]}
    yield Figure(
        f"  {', '.join(most)} more", ", ".join(map(str, most.values())), target=f"<= {_SPARE}",
        met=max(most.values()) <= _SPARE,
    )  # fmt: skip


def _live(service: Served, counted: Path, seconds: float, troubles: list[str]) -> _Kept:
    """Let the service live so long; say what it has more at the end than in the middle."""

    def count() -> _Kept:
        body = Body.of(service.process.pid)
        counted.unlink(missing_ok=True)
        tasks = 0
        if wait_until(counted.exists, PATIENCE):
            tasks = int(counted.read_text())
        else:
            troubles.append("the service does not tell of its tasks")
        return {"descriptors": body.descriptors, "threads": body.threads, "tasks": tasks}

    def more() -> _Kept:
        return {thing: number - before[thing] for thing, number in count().items()}

    time.sleep(seconds / 2)
    before = count()
    time.sleep(seconds / 2)
    wait_until(lambda: max(more().values()) <= _SPARE, 2.0)
    return more()


def _steady_port() -> int:
    """Find a port that no outgoing connection is given: it is asked while nobody listens."""
    for port in random.sample(range(20_000, 32_768), 50):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((faults.HOST, port))
            return port
    raise RuntimeError("no port is free from 20000 to 32767")

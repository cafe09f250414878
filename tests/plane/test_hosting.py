"""`serve` hosts features away from the plane: what they do to their loop delays no answer of it."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.clients.conftest import client
from tests.packages import importable, write_package
from tests.plane.asking import Asking
from tests.plane.planes import NOT_SERVING, SERVICE_UNKNOWN, SERVING
from tests.processes import PATIENCE, Served, python, run, served

SERVICE = "petsage.naps.v1.NapService"
FOR_EVER = {"PETSAGE_DRAIN_DELAY": "1000", "PETSAGE_GRACE": "2000"}

FEATURE = f"""
import asyncio
import grpc

def wake_up(fifo):
    with open(fifo) as pipe:  # who opens it waits until somebody else opens it to write
        return pipe.read().encode()

async def nap(request, context):
    return wake_up(request.decode()) if request else b"zzz"

async def doze(request, context):
    return await asyncio.get_running_loop().run_in_executor(None, wake_up, request.decode())

def mount(feature):
    methods = {{
        "Nap": grpc.unary_unary_rpc_method_handler(nap),
        "Doze": grpc.unary_unary_rpc_method_handler(doze),
    }}
    feature.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("{SERVICE}", methods),))

    @feature.check("bed", interval=0.1, edge_interval=0.1, timeout=0.2, gates=[])
    async def bed():
        pass
"""
"""Its `Nap` blocks the event loop until a FIFO is written to; its `Doze` waits beside it."""


class Fifo:
    """What a call of the feature waits for."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "fifo"
        os.mkfifo(self.path)

    def wait_for_reader(self) -> int:
        """Wait until the call is under way."""
        return os.open(self.path, os.O_WRONLY)

    @contextlib.contextmanager
    def blocking(self, method: "grpc.UnaryUnaryMultiCallable[bytes, bytes]") -> Iterator[Any]:
        """Have a call under way inside of the block; it ends with it."""
        call = method.future(str(self.path).encode(), timeout=PATIENCE)
        writer = self.wait_for_reader()
        try:
            yield call
        finally:
            with contextlib.suppress(BrokenPipeError):
                os.write(writer, b"awake")
            os.close(writer)


class Hosted:
    """A served process with a feature, and its callers."""

    def __init__(self, process: Served) -> None:
        self.process = process
        self.features_address = process.wait_for(r"the features listen on (\S+)")[1]
        self.plane = Asking(process.address)
        self.features = Asking(self.features_address)
        self._channel = grpc.insecure_channel(self.features_address)

    def method(self, name: str) -> "grpc.UnaryUnaryMultiCallable[bytes, bytes]":
        return self._channel.unary_unary(f"/{SERVICE}/{name}")

    def nap(self) -> bytes:
        """Call what answers at once."""
        return self.method("Nap")(b"", timeout=PATIENCE, wait_for_ready=True)

    def close(self) -> None:
        for opened in (self.plane, self.features, self._channel):
            opened.__exit__(None, None, None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the feature is installed."""
    with importable(tmp_path_factory.mktemp("hosting") / "site") as site:
        write_package(
            site, "petsage-naps", {"naps_feature": FEATURE}, features={"naps": "naps_feature"}
        )
        yield site


@contextlib.contextmanager
def hosting(folder: Path, **variables: str) -> Iterator[Hosted]:
    with served(PYTHONPATH=str(folder), **variables) as process:
        hosted = Hosted(process)
        hosted.features.becomes(SERVING)
        yield hosted
        hosted.close()


@pytest.fixture(scope="module")
def shared(folder: Path) -> Iterator[Hosted]:
    """A process for all who leave it as it is."""
    with hosting(folder, PETSAGE_MAX_SILENCE="0.5") as hosted:
        yield hosted


@pytest.fixture
def fifo(tmp_path: Path) -> Fifo:
    return Fifo(tmp_path)


@pytest.mark.clients
def test_a_feature_that_blocks_its_loop_delays_no_health_answer_and_is_told(
    shared: Hosted, fifo: Fifo
) -> None:
    kubelet, seen = client("kubelet-prober"), set()
    host, _, port = shared.process.address.rpartition(":")
    with fifo.blocking(shared.method("Nap")):
        for _ in range(50):  # the prober itself gives up after a second
            seen.add(kubelet("-host", host, "-port", port, "-service", "liveness").returncode)
            shared.plane.check()
        shared.plane.becomes(NOT_SERVING, "liveness")
        shared.plane.becomes(NOT_SERVING, "readiness")
        assert shared.plane.smoke(feature="naps").status
        shared.process.wait_for("check features is stale")
        shared.process.wait_for("check bed failed: timed out .* waiting for the event loop of ")
    assert seen <= {0, 1}, "answered each time"
    shared.plane.becomes(SERVING, "liveness")
    shared.plane.becomes(SERVING, "readiness")
    assert shared.nap() == b"zzz"


@pytest.mark.clients
def test_each_port_tells_of_its_own_services(shared: Hosted) -> None:
    grpcurl = client("grpcurl")
    reflection = "grpc.reflection.v1alpha.ServerReflection"
    listed = grpcurl("-plaintext", shared.features_address, "list").stdout.split()
    assert listed == ["grpc.health.v1.Health", reflection, SERVICE]
    listed = grpcurl("-plaintext", shared.process.address, "list").stdout.split()
    assert listed == ["grpc.health.v1.Health", reflection, "petsage.v1.SmokeTestService"]


@pytest.mark.clients
def test_health_is_told_on_the_features_port_too(shared: Hosted) -> None:
    grpcurl = client("grpcurl")
    shared.features.becomes(SERVING, SERVICE)
    assert shared.features.check("nobody") == SERVICE_UNKNOWN
    told = [
        grpcurl("-plaintext", address, "grpc.health.v1.Health/List").stdout
        for address in (shared.features_address, shared.process.address)
    ]
    assert told[0] == told[1]
    assert SERVICE in told[0]


def test_in_a_drain_calls_of_features_are_served_and_a_second_signal_ends_it(folder: Path) -> None:
    with hosting(folder, **FOR_EVER) as hosted:
        plane, features = hosted.plane.watch(), hosted.features.watch(SERVICE)
        assert (next(plane), next(features)) == (SERVING, SERVING)
        hosted.process.signal(signal.SIGTERM)
        assert (next(plane), next(features)) == (NOT_SERVING, NOT_SERVING)
        assert hosted.nap() == b"zzz"
        assert hosted.features.check("liveness") == SERVING
        hosted.process.signal(signal.SIGTERM)
        assert [*plane, *features] == [], "the watchers are ended"
        assert hosted.process.end() == 0
    assert hosted.process.lines[-1].endswith("petsage_grpc.service: stopped")


def test_no_call_is_lost_by_callers_that_leave_when_they_are_told(folder: Path) -> None:
    left, answers = threading.Event(), []

    def call(hosted: Hosted) -> None:
        while not left.is_set():
            answers.append(hosted.nap())

    with hosting(folder, PETSAGE_DRAIN_DELAY="0.5") as hosted:
        watch = hosted.features.watch(SERVICE)
        assert next(watch) == SERVING
        with futures.ThreadPoolExecutor(4) as callers:
            called = [callers.submit(call, hosted) for _ in range(4)]
            hosted.process.signal(signal.SIGTERM)
            assert next(watch) == NOT_SERVING
            left.set()
            for one in called:
                one.result()
        assert hosted.process.end() == 0
    assert set(answers) == {b"zzz"}


def test_a_call_under_way_may_end_and_meanwhile_the_plane_answers(folder: Path, fifo: Fifo) -> None:
    with hosting(folder, PETSAGE_DRAIN_DELAY="0", PETSAGE_GRACE="2000") as hosted:
        with fifo.blocking(hosted.method("Doze")) as call:
            watch = hosted.features.watch()
            assert next(watch) == SERVING
            hosted.process.signal(signal.SIGTERM)
            assert [*watch] in ([NOT_SERVING], []), "it is ended once nothing new is served"
            assert hosted.plane.check("liveness") == SERVING
            assert hosted.plane.check() == NOT_SERVING
        assert call.result() == b"awake"
        assert hosted.process.end() == 0


def test_a_loop_that_is_blocked_for_ever_keeps_it_neither_from_saying_so_nor_from_ending(
    folder: Path, fifo: Fifo
) -> None:
    with hosting(folder, PETSAGE_DRAIN_DELAY="0", PETSAGE_GRACE="2.5") as hosted:
        with fifo.blocking(hosted.method("Nap")):
            watch = hosted.plane.watch()
            assert next(watch) == SERVING
            hosted.process.signal(signal.SIGTERM)
            assert next(watch) == NOT_SERVING
            assert hosted.process.end() == 0
        hosted.process.wait_for("the loop of the features did not end in time, and is left behind")


def test_a_second_signal_does_not_wait_for_a_loop_that_is_blocked(folder: Path, fifo: Fifo) -> None:
    with (
        hosting(folder, PETSAGE_DRAIN_DELAY="0", PETSAGE_GRACE="2000") as hosted,
        fifo.blocking(hosted.method("Nap")),
    ):
        hosted.process.signal(signal.SIGTERM)
        hosted.process.wait_for("draining")
        hosted.process.signal(signal.SIGTERM)
        assert hosted.process.end() == 0


def test_a_call_that_keeps_a_thread_for_ever_does_not_keep_it_from_ending(
    folder: Path, fifo: Fifo
) -> None:
    with (
        hosting(folder, PETSAGE_DRAIN_DELAY="0", PETSAGE_GRACE="2000") as hosted,
        fifo.blocking(hosted.method("Doze")),
    ):
        hosted.process.signal(signal.SIGTERM)
        hosted.process.wait_for("draining")
        hosted.process.signal(signal.SIGTERM)
        assert hosted.process.end() == 0


def test_a_feature_that_blocks_while_it_is_mounted_can_be_ended(folder: Path) -> None:
    code = f"""
import signal, sys, threading
from petsage_grpc.cli import main
from petsage_grpc.plane import features_server

def load_features(settings):
    main = threading.main_thread().ident
    while sys._current_frames()[main].f_code.co_name != "select":
        pass
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)  # as the system may choose to do
    threading.Event().wait()

features_server.load_features = load_features
sys.path.insert(0, {str(folder)!r})
sys.exit(main(["serve", "--listen", "127.0.0.1:0"]))
"""
    ended = python(code)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_taken_port_of_the_features_is_exit_3_and_says_which_setting(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        address = f"127.0.0.1:{port}"
        ended = run(
            "serve", "--listen=127.0.0.1:0", PYTHONPATH=str(folder), PETSAGE_FEATURES_LISTEN=address
        )
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr == (
        f"petsage-grpc serve: can not listen on {address}: port {port} is taken: stop what listens"
        " there, or choose another with the setting features_listen (PETSAGE_FEATURES_LISTEN)\n"
    )


def test_a_taken_port_of_the_plane_is_exit_3_also_with_features(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = run(
            "serve", f"--listen=127.0.0.1:{port}", PYTHONPATH=str(folder),
            PETSAGE_FEATURES_LISTEN="127.0.0.1:0",
        )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr == (
        f"petsage-grpc serve: can not listen on 127.0.0.1:{port}: port {port} is taken: stop what"
        " listens there, or choose another with --listen\n"
    )


def test_without_features_there_is_no_thread_and_nothing_of_them_is_imported() -> None:
    ended = python("""
import asyncio, sys, threading
from petsage_grpc.plane.service import Service
from petsage_grpc.settings_load import load_settings

async def look():
    made = await Service.hosting(load_settings(environ={}, listen="127.0.0.1:0", checks={}))
    print(threading.active_count(), made.features_addresses, made.features)
    print([name for name in sys.modules if name.startswith("petsage_grpc.plane.features")])

asyncio.run(look())
""")
    # The thread besides the main one is that of grpc.
    assert ended.stdout.splitlines() == ["2 () ()", "[]"], ended.stderr


def test_many_callers_of_both_ports_at_once_are_answered(shared: Hosted) -> None:
    before = len(shared.process.lines)
    failed: list[grpc.RpcError] = []

    def ask() -> None:
        try:
            for _ in range(50):
                shared.plane.check()
                shared.features.check()
                shared.nap()
        except grpc.RpcError as error:
            failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert [line for line in shared.process.lines[before:] if "ERROR" in line] == []

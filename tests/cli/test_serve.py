"""`serve` as a process: what it prints, how it ends, and what becomes of it in trouble."""

import contextlib
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from petsage_grpc.rpc import stubs as pb
from tests.processes import (
    PATIENCE,
    PETSAGE,
    Served,
    clean_environment,
    python,
    run,
    served,
    settings_file,
    started,
    wait_for_state,
)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

FAST = ("interval = 0.1", "edge_interval = 0.05", "timeout = 0.2", "jitter = 0")


class Client:
    """A client of a served process."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.health = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
        self.smoke = pb.SmokeTestServiceStub(channel)

    def check(self, name: str = "") -> int:
        request = health_pb2.HealthCheckRequest(service=name)
        return self.health.Check(request, timeout=PATIENCE).status  # type: ignore[no-any-return]

    def watch(self, name: str = "") -> Iterator[int]:
        for response in self.health.Watch(health_pb2.HealthCheckRequest(service=name)):
            yield response.status

    def becomes(self, status: int) -> None:
        assert status in self.watch()

    def smoke_test(self) -> pb.SmokeTestResponse:
        return self.smoke.SmokeTest(pb.SmokeTestRequest(), timeout=PATIENCE)


@contextlib.contextmanager
def client_of(address: str) -> Iterator[Client]:
    with grpc.insecure_channel(address) as channel:
        yield Client(channel)


@pytest.fixture(scope="module")
def default() -> Iterator[Served]:
    """A service with nothing set but its port."""
    with served() as process:
        process.wait_for("check disk is passing")
        process.wait_for("check log is passing")
        yield process


def test_it_says_where_it_listens_what_it_checks_and_how_to_ask_it(default: Served) -> None:
    said = "\n".join(line.partition("petsage_grpc.service: ")[2] for line in default.lines)
    address = default.address
    assert said.split("\n\n")[0].strip().splitlines() == [
        "check disk (disk) every 10s gates readiness, startup",
        "check log (log) every 10s gates readiness, startup",
        f"listening on {address}",
        f"ask it: petsage-grpc smoke {address}",
        f"ask it: grpcurl -plaintext {address} grpc.health.v1.Health/Check",
        f"ask it: grpc_health_probe -addr={address}",
    ]


def test_its_answers_are_true(default: Served) -> None:
    with client_of(default.address) as client:
        client.becomes(SERVING)
        assert [check.name for check in client.smoke_test().checks] == ["disk", "log"]
        assert client.smoke_test().status == pb.STATUS_OK


def test_a_taken_port_is_exit_3_and_names_the_port(default: Served) -> None:
    port = default.address.rpartition(":")[2]
    ended = run("serve", "--listen", default.address)
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr == (
        f"petsage-grpc serve: can not listen on {default.address}: port {port} is taken:"
        " stop what listens there, or choose another with --listen\n"
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--listen", "127.0.0.1"], "argument listen: '127.0.0.1' has no port: write it like"),
        (["--listen", "127.0.0.1:65536"], "has no port from 0 to 65535: write it like"),
        (["--listen"], "argument -l/--listen: expected one argument"),
        (["--lisen", "127.0.0.1:0"], "unrecognized arguments: --lisen"),
        (["extra"], "unrecognized arguments: extra"),
        (["--config", "/no/such/file"], "/no/such/file: can not be read: No such file"),
    ],
)
def test_bad_arguments_are_exit_2_and_one_line(arguments: list[str], line: str) -> None:
    ended = run("serve", *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert line in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_bad_settings_are_exit_2_before_anything_listens(tmp_path: Path) -> None:
    config = settings_file(tmp_path, "drain_delay = 'soon'")
    ended = run("serve", "--config", str(config))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        f"petsage-grpc serve: {config}: drain_delay: 'soon' is not a duration:"
        ' write it like "500ms", "10s" or "1m30s"\n'
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_it_and_it_ends_with_0(number: signal.Signals) -> None:
    with served(PETSAGE_DRAIN_DELAY="0.2") as process, client_of(process.address) as client:
        client.becomes(SERVING)
        watch = client.watch()
        assert next(watch) == SERVING
        process.signal(number)
        assert next(watch) == NOT_SERVING
        assert client.check("liveness") == SERVING
        with pytest.raises(grpc.RpcError) as caught:
            next(watch)
        assert isinstance(caught.value, grpc.Call)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert process.end() == 0
    assert process.lines[-1].endswith("petsage_grpc.service: stopped")


def test_a_second_signal_ends_it_at_once() -> None:
    with served(PETSAGE_DRAIN_DELAY="1000", PETSAGE_GRACE="2000") as process:
        process.signal(signal.SIGTERM)
        process.wait_for("draining")
        process.signal(signal.SIGTERM)
        assert process.end() == 0


@pytest.mark.parametrize("module", ["petsage_grpc.settings", "asyncio", "grpc", "grpc_reflection"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_it_starts_ends_it_cleanly(number: signal.Signals, module: str) -> None:
    ended = python(
        f"""
import os, sys
from petsage_grpc.cli import main

class SignalOnImport:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {int(number)})

sys.meta_path.insert(0, SignalOnImport())
sys.exit(main(["serve", "--listen", "127.0.0.1:0"]))
"""
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "listening" not in ended.stdout


def test_a_service_without_a_port_of_its_own_can_listen_on_a_unix_socket(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/it.sock"
    with served("--listen", address) as process, client_of(address) as client:
        assert process.address == address
        client.becomes(SERVING)


def test_a_blocked_standard_output_is_told_and_blocks_nothing(tmp_path: Path) -> None:
    config = settings_file(tmp_path, "[checks.log]", 'kind = "log"', *FAST)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    reading, writing = os.pipe()
    # Of its own open file description, so that only this end of the pipe does not wait.
    filling = os.open(f"/proc/self/fd/{writing}", os.O_WRONLY | os.O_NONBLOCK)
    arguments = ("serve", "--config", str(config), "--listen", address)
    variables = {"PETSAGE_DETAILS": "always", "PETSAGE_DRAIN_DELAY": "0"}
    with (
        started(*arguments, stdout=writing, stderr=subprocess.PIPE, **variables) as process,
        client_of(address) as client,
    ):
        os.close(writing)
        assert run("wait", address).returncode == 0
        watch = client.watch()
        assert next(watch) == SERVING

        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(filling, b"x" * 4096)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(filling, b"x")
        assert next(watch) == NOT_SERVING
        assert client.check("liveness") == SERVING
        response = client.smoke_test()
        assert response.status == pb.STATUS_FAILING
        assert response.message == "PetSage Backend is not well: log."
        assert "<stdout>" in response.checks[0].detail

        while os.read(reading, 65536).endswith(b"x"):  # until lines of the service come again
            pass
        os.set_blocking(reading, False)
        for status in watch:
            if status == SERVING:
                break
            with contextlib.suppress(BlockingIOError):
                os.read(reading, 1 << 20)
        os.close(filling)
        process.terminate()
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                assert process.wait(0.01) == 0
                break
            with contextlib.suppress(BlockingIOError):
                os.read(reading, 1 << 20)
        assert process.stderr is not None
        assert process.stderr.read() == ""
    os.close(reading)


def test_it_ends_also_when_its_standard_output_stays_blocked(tmp_path: Path) -> None:
    config = settings_file(tmp_path, "[checks.log]", 'kind = "log"', *FAST)
    reading, writing = os.pipe()
    filling = os.open(f"/proc/self/fd/{writing}", os.O_WRONLY | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(filling, b"x" * 4096)
    address = f"unix:{tmp_path}/it.sock"
    arguments = ("serve", "--config", str(config), "--listen", address)
    with started(*arguments, stdout=writing, PETSAGE_DRAIN_DELAY="0") as process:
        waited = run("wait", address, "--service", "liveness")
        assert waited.returncode == 0
        process.terminate()
        assert process.wait(PATIENCE) == 0
    for descriptor in (reading, writing, filling):
        os.close(descriptor)


def test_a_reader_of_its_output_that_goes_away_neither_ends_it_nor_makes_it_complain(
    tmp_path: Path,
) -> None:
    config = settings_file(tmp_path, "[checks.log]", 'kind = "log"', *FAST)
    address = f"unix:{tmp_path}/it.sock"
    reading, writing = os.pipe()
    os.close(reading)
    arguments, pipe = ("serve", "--config", str(config), "--listen", address), subprocess.PIPE
    with (
        started(*arguments, stdout=writing, stderr=pipe, PETSAGE_DRAIN_DELAY="0") as process,
        client_of(address) as client,
    ):
        os.close(writing)
        assert run("wait", address, "--service", "liveness").returncode == 0
        client.becomes(NOT_SERVING)
        assert client.check("liveness") == SERVING
        process.terminate()
        assert process.wait(PATIENCE) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_check_that_hangs_for_ever_does_not_keep_it_from_ending(tmp_path: Path) -> None:
    code = """
import os, sys, threading
from petsage_grpc.cli import main
os.fsync = lambda descriptor: threading.Event().wait()
sys.exit(main(["serve", *sys.argv[1:]]))
"""
    address = f"unix:{tmp_path}/it.sock"
    with subprocess.Popen(
        [PETSAGE[0], "-c", code, "--listen", address],
        env=clean_environment(PETSAGE_DRAIN_DELAY="0"), stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert any("check disk is failing" in line for line in process.stdout)
        assert run("probe", "-addr", address, "-service", "liveness").returncode == 0
        process.terminate()
        process.stdout.read()
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_storm_of_signals_ends_it_with_0_and_without_a_word(number: signal.Signals) -> None:
    with served() as process:
        while process.process.poll() is None:
            process.signal(number)
        assert process.end() == 0
    assert process.lines[-1].endswith("petsage_grpc.service: stopped")


def test_python_m_is_the_same_as_the_command() -> None:
    module = subprocess.run([*PETSAGE, "--version"], capture_output=True, text=True, check=True)
    command = Path(PETSAGE[0]).with_name("petsage-grpc")
    script = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert module.stdout == script.stdout
    assert re.fullmatch(r"petsage-grpc \d+\.\d+\.\d+\n", script.stdout)


def test_a_start_that_waits_for_its_settings_can_be_ended(tmp_path: Path) -> None:
    pipe = tmp_path / "petsage.toml"
    os.mkfifo(pipe)
    # Opening it returns once the service has opened it too.
    with started("serve", "--config", str(pipe)) as process, pipe.open("w"):
        wait_for_state(process.pid, "S")  # it reads: a signal just before that is heard after it
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_closed_standard_streams_are_no_trouble(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/it.sock"
    command = f"exec {' '.join(PETSAGE)} serve --listen {address} <&- >&- 2>&-"
    with subprocess.Popen(
        ["sh", "-c", command], env=clean_environment(PETSAGE_DRAIN_DELAY="0")
    ) as process:
        assert run("wait", address).returncode == 0
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_what_a_caller_sends_can_not_forge_a_line_of_the_log(tmp_path: Path) -> None:
    with served() as process, client_of(process.address) as client:
        with pytest.raises(grpc.RpcError) as caught:
            client.check("x\n2026 ERROR forged \x1b[31m")
        assert isinstance(caught.value, grpc.Call)
        assert caught.value.details() == r'unknown health name "x\n2026 ERROR forged \x1b[31m"'
        assert not any("forged" in line for line in process.lines)

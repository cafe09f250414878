"""The rounds of load that several figures are read from, so that they belong together."""

import functools
import re
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import grpc
from processes import AIO, OURS, SYNC, Memory, Server, alternate, running
from report import BenchError

from petsage_grpc._gen.petsage.v1 import smoke_test_pb2, smoke_test_pb2_grpc

__all__ = ["SMOKE_TEST", "Rounds", "check_rate", "take_rounds"]

SMOKE_TEST: Final = "ours, SmokeTest"

_CONNECTIONS: Final = 4
_STREAMS: Final = 8
_PATIENCE: Final = 20.0
_EMPTY_MESSAGE: Final = bytes(5)
_CHECK_PATH: Final = "/grpc.health.v1.Health/Check"
_SMOKE_PATH: Final = "/petsage.v1.SmokeTestService/SmokeTest"
_TIMES: Final = 12  # bytes by which an answer of SmokeTest may be shorter, as its times are written
_CHECK_SIZE: Final = 7  # bytes of an answer: a prefix of five, one field of two


@dataclass(frozen=True)
class Rounds:
    """What the rounds gave, by the name of what was loaded."""

    rates: dict[str, list[float]]
    """Calls a second."""
    cpu: dict[str, list[float]]
    """Microseconds of the server's CPU a call."""
    idle: dict[str, Memory]
    loaded: dict[str, Memory]


@functools.cache
def take_rounds(*, quick: bool) -> Rounds:
    """Load every server by turns; the second caller gets what the first one got."""
    rounds, seconds = (1, 0.3) if quick else (20, 1.5)
    with ExitStack() as stack:
        servers = {kind: stack.enter_context(running(kind)) for kind in (AIO, OURS, SYNC)}
        idle = {kind: server.memory() for kind, server in servers.items()}
        smoke_size = _prove_awake(servers[OURS]) - _TIMES
        takes = {
            kind: functools.partial(_load, server, _CHECK_PATH, _CHECK_SIZE, seconds)
            for kind, server in servers.items()
        }
        takes[SMOKE_TEST] = functools.partial(
            _load, servers[OURS], _SMOKE_PATH, smoke_size, seconds
        )
        samples = alternate(takes, rounds)
        for server in servers.values():
            server.prove_serving()
        loaded = {kind: server.memory() for kind, server in servers.items()}
    return Rounds(
        {name: [rate for rate, _ in taken] for name, taken in samples.items()},
        {name: [cpu for _, cpu in taken] for name, taken in samples.items()},
        idle,
        loaded,
    )


def check_rate(server: Server, seconds: float) -> float:
    """Load a server with Check alone; return the calls a second."""
    return _load(server, _CHECK_PATH, _CHECK_SIZE, seconds)[0]


def _prove_awake(server: Server) -> int:
    """Ask for the smoke test with a real client; return how long the answer is on the wire."""
    with grpc.insecure_channel(server.address) as channel:
        stub = smoke_test_pb2_grpc.SmokeTestServiceStub(channel)
        try:
            response = stub.SmokeTest(smoke_test_pb2.SmokeTestRequest(), timeout=5)
        except grpc.RpcError as error:
            raise BenchError(f"the smoke test fails: {error}") from None
    if response.status != smoke_test_pb2.STATUS_OK:
        raise BenchError(f"the smoke test says: {response.message}")
    return len(_EMPTY_MESSAGE) + response.ByteSize()


def _load(server: Server, path: str, size: int, seconds: float) -> tuple[float, float]:
    """Return the calls a second and the CPU of each, of answers that are `size` bytes long."""
    before = server.cpu_seconds()
    done = _count_answers(_run_h2load(f"http://{server.address}{path}", seconds), size)
    return done / seconds, (server.cpu_seconds() - before) / done * 1e6


def _run_h2load(url: str, seconds: float) -> str:
    """Send empty messages for so long; return what h2load says."""
    if shutil.which("h2load") is None:
        raise BenchError("there is no h2load: apt-get install nghttp2-client")
    with tempfile.NamedTemporaryFile() as body:
        body.write(_EMPTY_MESSAGE)
        body.flush()
        options = [f"-D{seconds * 1e3:.0f}ms", f"-c{_CONNECTIONS}", f"-m{_STREAMS}"]
        headers = ["-Hcontent-type: application/grpc", "-Hte: trailers"]
        try:
            return subprocess.run(
                ["h2load", *options, *headers, f"-d{body.name}", url],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=seconds + _PATIENCE,
                check=False,
            ).stdout
        except subprocess.TimeoutExpired:
            raise BenchError(f"h2load did not end after {seconds + _PATIENCE:g} s") from None


def _count_answers(output: str, size: int) -> int:
    """Count the answers, if every call got one.

    h2load takes an error of gRPC for a success, for its HTTP status is 200 as well. But it brings
    no message: the answers are counted by their bytes.
    """
    counts = re.search(
        r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output
    )
    data = re.search(r"\((\d+)\) data", output)
    if counts is None or data is None:
        raise BenchError(f"h2load says: {output.strip().rpartition(chr(10))[2] or 'nothing'}")
    done, succeeded, *bad = map(int, counts.groups())
    if not done or succeeded != done or any(bad) or int(data[1]) < 0.99 * size * done:
        raise BenchError(f"calls failed under load: {counts[0]}, {data[1]} bytes of answers")
    return done

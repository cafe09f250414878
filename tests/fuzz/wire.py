"""The targets behind the port: request bytes, names, headers and tokens, to a server that runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from hypothesis import strategies as st

from petsage_grpc import HealthPlane
from petsage_grpc.rpc.convert import HEALTH_SERVICE, SMOKE_TEST_SERVICE
from petsage_grpc.rpc.reflection import REFLECTION_SERVICE
from petsage_grpc.rpc.stubs import SmokeTestRequest, SmokeTestResponse
from tests.fuzz.oracle import NoErrorLines, ends_well

__all__ = ["SMOKE_TEST", "TOKEN", "Wire", "asks", "names", "run_ask", "wire"]

PATIENCE: Final = 5.0
"""Seconds in which a call must have ended."""

TOKEN: Final = "the-one-token-that-is-valid"
SMOKE_TEST: Final = f"/{SMOKE_TEST_SERVICE}/SmokeTest"
_BAD_DIRECTORY: Final = "/no/such/directory"
_Metadata = tuple[tuple[str, str | bytes], ...]


class Wire(NamedTuple):
    """A server that runs, asked with any bytes."""

    unary: Callable[[str, bytes, _Metadata], bytes | None]
    """Ask, with the path, the message and headers; None when it was refused as it should."""
    stream: Callable[[str, bytes], list[bytes]]
    """Ask, and read up to two answers."""

    def check(self, raw: bytes) -> None:
        answer = self.unary(f"/{HEALTH_SERVICE}/Check", raw, ())
        if answer is not None:
            status = health_pb2.HealthCheckResponse.FromString(answer).status
            assert status in (1, 2), f"Check says {status}"

    def list(self, raw: bytes) -> None:
        answer = self.unary(f"/{HEALTH_SERVICE}/List", raw, ())
        assert answer is None or len(health_pb2.HealthListResponse.FromString(answer).statuses) == 5

    def watch(self, raw: bytes) -> None:
        for answer in self.stream(f"/{HEALTH_SERVICE}/Watch", raw)[:1]:
            assert health_pb2.HealthCheckResponse.FromString(answer).status in (1, 2, 3)

    def smoke_test(self, raw: bytes) -> None:
        self._ask_smoke_test(raw, ())

    def reflection(self, raw: bytes) -> None:
        path = f"/{REFLECTION_SERVICE}/ServerReflectionInfo"
        for answer in self.stream(path, raw):
            reflection_pb2.ServerReflectionResponse.FromString(answer)

    def hops(self, raw: bytes) -> None:
        headers = (("petsage-hops", _header(raw)),)
        assert self.unary(f"/{HEALTH_SERVICE}/Check", b"", headers) is not None

    def token(self, raw: bytes) -> None:
        """Try to guess a token: nobody is told a detail."""
        text = _header(raw)
        if TOKEN not in text:
            self._ask_smoke_test(b"", (("authorization", text),))

    def _ask_smoke_test(self, raw: bytes, headers: _Metadata) -> None:
        answer = self.unary(SMOKE_TEST, raw, headers)
        if answer is not None:
            for check in SmokeTestResponse.FromString(answer).checks:
                assert not check.detail, "a detail for a caller without a token"
                assert not check.history, "a history for a caller without a token"


def _header(raw: bytes) -> str:
    """Make a value that a client's grpc agrees to send: printable ASCII."""
    return "".join(chr(32 + byte % 95) for byte in raw)


@contextmanager
def wire() -> Iterator[Wire]:
    """Run a server, one of whose checks fails with a detail that is not for everybody."""
    errors = NoErrorLines()
    with TemporaryDirectory() as folder, errors.watching():
        tokens = Path(folder, "tokens")
        tokens.write_text(f"{TOKEN}\n")
        tokens.chmod(0o600)
        checks = {
            "good": {"kind": "disk", "directory": folder, "min_free": 0, "interval": 3600},
            "bad": {"kind": "disk", "directory": _BAD_DIRECTORY, "interval": 3600, "fall": 1},
        }
        given: dict[str, Any] = {"listen": "127.0.0.1:0", "checks": checks}
        given |= {"token_files": (str(tokens),), "refresh_interval": 0.001}
        with (
            HealthPlane.from_settings(**given) as plane,
            grpc.insecure_channel(plane.address) as channel,
        ):
            yield _asking(channel, errors)
            errors.look()


def _asking(channel: grpc.Channel, errors: NoErrorLines) -> Wire:
    def unary(path: str, raw: bytes, headers: _Metadata) -> bytes | None:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
        try:
            return call(raw, timeout=PATIENCE, metadata=headers)
        except grpc.RpcError as error:
            ends_well(error)
            return None
        finally:
            errors.look()

    def stream(path: str, raw: bytes) -> list[bytes]:
        open_call: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(path)
        call = open_call(iter([raw]), timeout=PATIENCE)
        answers: list[bytes] = []
        try:
            with suppress(StopIteration):
                answers.append(next(call))
                if not path.endswith("/Watch"):  # which says no more until something changes
                    answers.append(next(call))
        except grpc.RpcError as error:
            ends_well(error)
        finally:
            call.cancel()
            errors.look()
        return answers

    return Wire(unary, stream)


names = st.one_of(st.text(max_size=50), st.text(max_size=2000), st.sampled_from(["", "readiness"]))
"""What may be asked for."""

_durations = st.tuples(
    st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 2),
    st.integers(-(2**31), 2**31 - 1) | st.integers(-2, 2),
)
asks = st.tuples(
    st.sampled_from(["check", "watch", "smoke_test"]),
    names,
    st.lists(names | st.sampled_from(["good", "bad"]), max_size=20),
    st.none() | _durations,
)
"""A method, and what a request of it says that is well-formed."""

_Ask = tuple[str, str, list[str], tuple[int, int] | None]


def run_ask(wire: Wire, ask: _Ask) -> None:
    """Ask for these names."""
    method, name, checks, max_age = ask
    if method != "smoke_test":
        getattr(wire, method)(health_pb2.HealthCheckRequest(service=name).SerializeToString())
        return
    request = SmokeTestRequest(feature=name, checks=checks)
    if max_age is not None:
        request.max_age.seconds, request.max_age.nanos = max_age
    wire.smoke_test(request.SerializeToString())

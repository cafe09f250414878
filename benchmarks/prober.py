"""Asks for health at a steady rate, and takes little time itself: a gRPC client takes more.

The time of a probe is from just before it is written to just after its answer was read.
"""

import contextlib
import itertools
import select
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import H2Error

__all__ = ["Probe", "Prober", "status"]

_PREFIX: Final = 5
"""Bytes before each message of gRPC."""
_MESSAGE: Final = HealthCheckRequest().SerializeToString()
_BODY: Final = b"\0" + len(_MESSAGE).to_bytes(4, "big") + _MESSAGE
_CODES: Final[Mapping[str, str]] = {str(code.value[0]): code.name for code in grpc.StatusCode}
_CHUNK: Final = 65536

Probe = tuple[float, float, str]
"""When it was sent, in monotonic seconds, how many seconds it took, and what was said."""


@dataclass
class _Call:
    """A probe without an answer."""

    sent: float
    body: bytes = b""
    code: str = "UNKNOWN"


@dataclass
class _Connection:
    sock: socket.socket
    http2: H2Connection
    calls: dict[int, _Call] = field(default_factory=dict)
    """By the number of their stream, in the order in which they were sent."""


class Prober:
    """Sends each probe when it is due, however many have no answer yet.

    Args:
        address: whom it asks, as host and port.
        rate: probes a second.
        deadline: seconds after which one is given up.
    """

    def __init__(self, address: str, rate: float, deadline: float) -> None:
        host, _, port = address.rpartition(":")
        self._server = host, int(port)
        self._authority = address
        self._rate = rate
        self._deadline = deadline
        self._connection: _Connection | None = None
        self.probes: list[Probe] = []
        self.late: list[float] = []
        """How many seconds after it was due each was sent."""

    def run(self, over: threading.Event) -> None:
        """Probe until it is over and each probe has its end."""
        begun = time.monotonic()
        for number in itertools.count():
            due = begun + number / self._rate
            while (left := due - time.monotonic()) > 0:
                self._listen(left)
            if over.is_set():
                break
            self._listen(0.0)  # what is there already is in time, however late it is here
            self._expire()
            self._send(due)
        while self._connection and self._connection.calls:
            self._listen(self._deadline / 10)
            self._expire()
        self._lose()

    def _send(self, due: float) -> None:
        call = _Call(time.monotonic())
        try:
            here = self._connection = self._connection or self._connect()
        except OSError:
            self.probes.append((call.sent, time.monotonic() - call.sent, "UNAVAILABLE"))
        else:
            stream = here.http2.get_next_available_stream_id()
            here.calls[stream] = call
            try:
                here.http2.send_headers(stream, self._headers())
                here.http2.send_data(stream, _BODY, end_stream=True)
                data = here.http2.data_to_send()
                call.sent = time.monotonic()
                here.sock.sendall(data)
            except (OSError, H2Error):
                self._lose()
        self.late.append(call.sent - due)

    def _connect(self) -> _Connection:
        sock = socket.create_connection(self._server, timeout=self._deadline)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        http2 = H2Connection(H2Configuration(client_side=True))
        http2.initiate_connection()
        return _Connection(sock, http2)

    def _headers(self) -> list[tuple[str, str]]:
        return [
            (":method", "POST"), (":scheme", "http"), (":path", "/grpc.health.v1.Health/Check"),
            (":authority", self._authority), ("te", "trailers"),
            ("content-type", "application/grpc"), ("grpc-timeout", f"{self._deadline * 1e3:.0f}m"),
        ]  # fmt: skip

    def _listen(self, seconds: float) -> None:
        """Take what comes meanwhile, or wait."""
        here = self._connection
        if here is None:
            time.sleep(seconds)
            return
        if not select.select([here.sock], [], [], seconds)[0]:
            return
        try:
            data = here.sock.recv(_CHUNK)
            now = time.monotonic()
            events = here.http2.receive_data(data) if data else [ConnectionTerminated()]
            if answer := here.http2.data_to_send():
                here.sock.sendall(answer)
        except (OSError, H2Error):
            self._lose()
            return
        for event in events:
            if isinstance(event, ConnectionTerminated):
                self._lose()
                return
            self._take(here, event, now)

    def _take(self, here: _Connection, event: Event, now: float) -> None:
        call = here.calls.get(getattr(event, "stream_id", None) or 0)
        if call is None:
            return  # of the connection, or of one that was given up
        match event:
            case DataReceived(stream_id=int(stream)):
                here.http2.acknowledge_received_data(event.flow_controlled_length, stream)
                call.body += event.data
            case ResponseReceived() | TrailersReceived():
                found = dict(event.headers).get(b"grpc-status")
                call.code = _CODES.get(found.decode(), call.code) if found else call.code
            case StreamEnded(stream_id=int(stream)):
                said = status(call.body[_PREFIX:]) if call.code == "OK" else call.code
                self._end(here, stream, now, said)
            case StreamReset(stream_id=int(stream)):
                self._end(here, stream, now, "CANCELLED")
            case _:
                pass

    def _expire(self) -> None:
        """Give up what has waited too long."""
        here, now = self._connection, time.monotonic()
        while here and here.calls:
            stream, call = next(iter(here.calls.items()))
            if now < call.sent + self._deadline:
                return
            self._end(here, stream, now, "DEADLINE_EXCEEDED")
            with contextlib.suppress(OSError, H2Error):
                here.http2.reset_stream(stream, ErrorCodes.CANCEL)
                here.sock.sendall(here.http2.data_to_send())

    def _lose(self) -> None:
        """Close the connection: what is open on it gets no answer any more."""
        here, self._connection = self._connection, None
        if here is not None:
            here.sock.close()
            for stream in [*here.calls]:
                self._end(here, stream, time.monotonic(), "UNAVAILABLE")

    def _end(self, here: _Connection, stream: int, now: float, said: str) -> None:
        call = here.calls.pop(stream)
        self.probes.append((call.sent, now - call.sent, said))


def status(message: bytes) -> str:
    """Name the status that an answer gives."""
    found = HealthCheckResponse.FromString(message).status
    return HealthCheckResponse.ServingStatus.Name(found)

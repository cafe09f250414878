"""A server of ours with limits, and raw clients of several addresses that reach them."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Final, Self

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    Event,
    PingAckReceived,
    ResponseReceived,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

from petsage_grpc.core.fold import Answer
from petsage_grpc.core.names import Names
from petsage_grpc.core.status import Status
from petsage_grpc.rpc.health import HealthServicer
from petsage_grpc.rpc.limits import Refusals
from petsage_grpc.rpc.server import Server
from petsage_grpc.settings import Settings
from tests.rpc.test_bad_clients import RawClient

CHECK: Final = "/grpc.health.v1.Health/Check"
WATCH: Final = "/grpc.health.v1.Health/Watch"
OTHER: Final = "127.0.0.2"
"""An address of another peer; on Linux all that begin so are this machine's."""

Headers = Sequence[tuple[str, str]]


def message(name: str = "") -> bytes:
    """Make the message that asks for a name, as it is sent."""
    raw = health_pb2.HealthCheckRequest(service=name).SerializeToString()
    return b"\0" + len(raw).to_bytes(4, "big") + raw


def headers_of(path: str) -> list[tuple[str, str]]:
    """Make the headers of a call."""
    return [
        (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "test"),
        ("te", "trailers"), ("content-type", "application/grpc"),
    ]  # fmt: skip


class EndedError(Exception):
    """The server has ended the connection."""


class Caller(RawClient):
    """A client from any address of this machine."""

    _next = -1

    @classmethod
    async def connect(cls, address: str, source: str = "127.0.0.1", window: int = 65535) -> Self:
        """Connect, and begin to speak."""
        host, _, port = address.rpartition(":")
        streams = await (
            asyncio.open_unix_connection(port)
            if host == "unix"
            else asyncio.open_connection(host.strip("[]"), int(port), local_addr=(source, 0))
        )
        caller = cls(*streams)
        caller.http2.initiate_connection()
        caller.http2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
        caller.flush()
        return caller

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self.leave()

    async def leave(self) -> None:
        """Close the connection."""
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    def begin(self, path: str, name: str = "", more: Headers = ()) -> int:
        """Begin a call; return its stream."""
        self._next += 2
        self.http2.send_headers(self._next, [*headers_of(path), *more])
        self.http2.send_data(self._next, message(name), end_stream=True)
        self.flush()
        return self._next

    async def next_event(self) -> Event:
        """Take the next event; raises EndedError when there is none any more."""
        while not self.events:
            with contextlib.suppress(ConnectionError):
                if data := await self.reader.read(65536):
                    self.events += self.http2.receive_data(data)
                    self.flush()
                    continue
            raise EndedError
        return self.events.pop(0)

    async def ended(self) -> bytes:
        """Wait until the server has ended the connection; return all that it sent until then."""
        with contextlib.suppress(ConnectionError):
            return await self.reader.read(-1)
        return b""

    async def is_gone(self) -> bool:
        """Say whether the server has ended the connection."""
        try:
            return await self.check() is not None
        except (EndedError, ProtocolError):  # h2 hears nothing more after GOAWAY
            return True

    async def first_of(self, stream: int) -> "tuple[str, str] | None":
        """Return how a call ends, as a code and details; None when it lasts and is answered."""
        while True:
            event = await self.next_event()
            if getattr(event, "stream_id", None) != stream:
                continue
            if isinstance(event, StreamReset):
                return f"reset {int(event.error_code)}", ""
            if isinstance(event, (ResponseReceived, TrailersReceived)):
                headers = {bytes(key): bytes(value) for key, value in event.headers}
                if b"grpc-status" in headers:
                    code = int(headers[b"grpc-status"])
                    (name,) = [c.name for c in grpc.StatusCode if c.value[0] == code]
                    return name, headers.get(b"grpc-message", b"").decode()
                if headers[b":status"] != b"200":
                    return f"HTTP {headers[b':status'].decode()}", ""
            elif isinstance(event, DataReceived) and event.data:
                return None

    async def check(self, more: Headers = ()) -> "tuple[str, str] | None":
        """Ask once; None when it was answered."""
        return await self.first_of(self.begin(CHECK, more=more))

    async def ping(self) -> None:
        """Ping, and wait for the answer."""
        self.http2.ping(b"12345678")
        self.flush()
        while not isinstance(await self.next_event(), PingAckReceived):
            pass

    def read_more(self) -> None:
        """Let answers come that had no window."""
        self.http2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 65535})
        self.flush()

    async def watch(self, name: str = "") -> "tuple[str, str] | None":
        """Watch a name from now on; None when that was granted."""
        return await self.first_of(self.begin(WATCH, name))


class Limited:
    """A server with a name, and how often its limits were reached."""

    def __init__(self, settings: Settings, address: str = "127.0.0.1:0") -> None:
        self.names = Names(asyncio.get_running_loop().time)
        self.names.put("", Answer(Status.SERVING))
        self.refusals = Refusals()
        self.health = HealthServicer(
            self.names,
            max_watchers=settings.max_watchers,
            max_watchers_per_peer=settings.max_watchers_per_peer,
            max_unknown_names=settings.max_unknown_names,
            max_name_length=settings.max_name_length,
            send_timeout=settings.watch_send_timeout,
            refusals=self.refusals,
        )
        self.server = Server(
            self.health, settings=settings, max_message_size=settings.max_message_size
        )
        self.server.bind([address], "listen")
        self.address = self.server.addresses[0]

    async def is_watchable(self, caller: Caller, name: str = "") -> None:
        """Wait until there is a place: the server notices a moment later that another left."""
        while await caller.watch(name) is not None:
            pass

    async def check(self) -> int:
        """Ask as another client does, with a connection of its own."""
        async with grpc.aio.insecure_channel(
            self.address, options=[("grpc.use_local_subchannel_pool", 1)]
        ) as channel:
            stub = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
            answer = await stub.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
        return answer.status  # type: ignore[no-any-return]


@contextlib.asynccontextmanager
async def limited(address: str = "127.0.0.1:0", **settings: Any) -> AsyncIterator[Limited]:
    """Serve with these settings."""
    made = Limited(Settings(**settings), address)
    await made.server.start()
    try:
        yield made
    finally:
        made.names.close()
        await made.server.stop(None)


def codes_of_a_crowd(address: str, calls: int, answers: int) -> list[str]:
    """Send calls at once, and read while this thread, and the event loop with it, stands still.

    Returns the statuses of the calls that are answered then.
    """
    host, _, port = address.rpartition(":")
    http2, codes = H2Connection(H2Configuration(client_side=True)), list[str]()
    http2.initiate_connection()
    for stream in range(1, 2 * calls, 2):
        http2.send_headers(stream, headers_of(CHECK))
        http2.send_data(stream, message(), end_stream=True)
    with socket.create_connection((host, int(port))) as sock:
        while len(codes) < answers:
            sock.sendall(http2.data_to_send())
            for event in http2.receive_data(sock.recv(65536)):
                if isinstance(event, ResponseReceived):
                    codes.append(dict(event.headers)[b"grpc-status"].decode())
    return codes

"""Clients that speak badly, or not at all: none of them costs another its answer."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, ResponseReceived, TrailersReceived
from h2.settings import SettingCodes

from tests.rpc.conftest import HOST, SERVING, Backend, Serve

EMPTY_MESSAGE = b"\0\0\0\0\0"


class RawClient:
    """An HTTP/2 client that does just what a test tells it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.http2 = H2Connection(H2Configuration(client_side=True))
        self.events: list[Event] = []

    def flush(self) -> None:
        self.writer.write(self.http2.data_to_send())

    def start(self, *, window: int) -> None:
        """Open the connection and give each stream this window."""
        self.http2.initiate_connection()
        self.http2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.flush()

    def call(self, path: str, stream: int = 1, message: bytes = EMPTY_MESSAGE) -> None:
        headers = [
            (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "test"),
            ("te", "trailers"), ("content-type", "application/grpc"),
        ]  # fmt: skip
        self.http2.send_headers(stream, headers)
        self.http2.send_data(stream, message, end_stream=True)
        self.flush()

    async def until(self, kind: type[Event]) -> Event:
        """Read until there is an event of this kind."""
        while True:
            while self.events:
                event = self.events.pop(0)
                if isinstance(event, kind):
                    return event
            data = await self.reader.read(65536)
            assert data, "the server closed the connection"
            self.events += self.http2.receive_data(data)
            self.flush()


@contextlib.asynccontextmanager
async def raw_client(backend: Backend) -> AsyncIterator[RawClient]:
    host, _, port = backend.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield RawClient(reader, writer)
    finally:
        writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: it\r\n\r\n", id="HTTP/1.1"),
        pytest.param(bytes(range(256)) * 16, id="garbage"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64, id="garbage in HTTP/2"),
        pytest.param(b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + b"\0" * 160, id="TLS"),
    ],
)
async def test_what_is_not_grpc_is_hung_up_on_and_the_next_request_answered(
    backend: Backend, sent: bytes
) -> None:
    async with raw_client(backend) as client:
        client.writer.write(sent)
        with contextlib.suppress(ConnectionError):
            while await client.reader.read(65536):
                pass
    assert await backend.check() == SERVING


async def test_a_client_that_connects_and_says_nothing_keeps_nobody_waiting(
    backend: Backend,
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(50):
            await stack.enter_async_context(raw_client(backend))
        assert await backend.check() == SERVING


async def test_a_method_that_does_not_exist_is_unimplemented(backend: Backend) -> None:
    call = backend.call("/grpc.health.v1.Health/Nothing", b"")
    assert await call.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_watcher_that_takes_nothing_is_evicted_and_told_when_it_reads_again(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    backend = await serve(watch_send_timeout=0.05)
    await backend.becomes(SERVING)
    async with raw_client(backend) as client:
        client.start(window=0)
        client.call("/grpc.health.v1.Health/Watch")
        while "evicted" not in caplog.text:
            await asyncio.sleep(0)
        assert not backend.watched, "it is forgotten while its message still waits"
        assert await backend.check() == SERVING
        client.http2.increment_flow_control_window(1000, stream_id=1)
        client.flush()
        await client.until(DataReceived)
        event = await client.until(TrailersReceived)
        assert isinstance(event, TrailersReceived)
        headers = dict(event.headers)
    assert headers[b"grpc-status"] == str(grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]).encode()
    assert headers[b"grpc-message"] == b"evicted: took no update within 50ms"


async def test_a_watcher_that_takes_nothing_delays_no_other(
    serve: Serve,
) -> None:
    backend = await serve(watch_send_timeout=1000)
    await backend.becomes(SERVING)
    async with raw_client(backend) as client:
        client.start(window=0)
        client.call("/grpc.health.v1.Health/Watch")
        watcher = backend.watch()
        await watcher.read()
        await backend.break_disk()
        await watcher.read()
        watcher.cancel()


async def test_an_evicted_watcher_leaves_its_place_to_another(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    backend = await serve(watch_send_timeout=0.05, max_watchers=1)
    while await backend.check() != SERVING:  # to watch for it would take the one place
        pass
    async with raw_client(backend) as client:
        client.start(window=0)
        client.call("/grpc.health.v1.Health/Watch")
        while "evicted" not in caplog.text:
            await asyncio.sleep(0)
        await backend.becomes(SERVING)


@pytest.mark.parametrize("evicted", [True, False])
async def test_a_watcher_that_goes_away_with_a_message_under_way_leaves_no_traceback(
    serve: Serve, caplog: pytest.LogCaptureFixture, evicted: bool
) -> None:
    backend = await serve(watch_send_timeout=0.05 if evicted else 1000)
    await backend.becomes(SERVING)
    async with raw_client(backend) as client:
        client.start(window=0)
        client.call("/grpc.health.v1.Health/Watch")
        await client.until(ResponseReceived)
        while evicted and "evicted" not in caplog.text:
            await asyncio.sleep(0)
    while any("Health/Watch" in task.get_name() for task in backend.tasks):
        await asyncio.sleep(0)
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.skipif(HOST == "process", reason="nobody can look into the plane's process")
async def test_a_watcher_that_goes_away_is_forgotten(backend: Backend) -> None:
    async with raw_client(backend) as client:
        client.start(window=65535)
        client.call("/grpc.health.v1.Health/Watch", message=b"\0\0\0\0\x03\x0a\x01x")
        await client.until(DataReceived)
        assert backend.watched == {"x"}
    while backend.watched:
        await asyncio.sleep(0)

"""Servers that say just what a test tells them to, for clients that must cope with anything."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import grpc
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived, StreamEnded
from h2.exceptions import H2Error

Handle = Callable[[socket.socket], None]
Answer = Callable[[H2Connection, int, socket.socket], None]

GRPC = [(":status", "200"), ("content-type", "application/grpc")]
OK = [("grpc-status", "0")]
GOAWAY = b"\0\0\x0b\7\0\0\0\0\0"  # the header of the frame, for "\x7f\xff\xff\xff" + code + "bye"


@contextlib.contextmanager
def listening() -> Iterator[socket.socket]:
    """Open a listener that nobody accepts from."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def address_of(listener: socket.socket) -> str:
    """Return its address as a client writes it."""
    return "{}:{}".format(*listener.getsockname())


@contextlib.contextmanager
def raw_server(handle: Handle, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Hand each connection to `handle` on a thread, one after the other, and close it after."""

    def serve_one(connection: socket.socket) -> None:
        with contextlib.suppress(OSError, H2Error):
            if tls:
                connection = tls.wrap_socket(connection, server_side=True)
            with connection:
                handle(connection)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.settimeout(10)
                with connection:
                    serve_one(connection)

    with listening() as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield address_of(listener)
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def saying(words: bytes) -> Handle:
    """Say this once the client has said something, and close."""

    def handle(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(words)
        drain(connection)

    return handle


def drain(connection: socket.socket) -> None:
    """Read until the client closes, so that nothing said before is lost."""
    with contextlib.suppress(ConnectionError):
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass


def http2(answer: Answer, seen: list[dict[str, str]] | None = None) -> Handle:
    """Speak HTTP/2, keep the headers of each request in `seen` and call `answer` at its end."""

    def handle(connection: socket.socket) -> None:
        server = H2Connection(H2Configuration(client_side=False))
        server.initiate_connection()
        connection.sendall(server.data_to_send())
        while data := connection.recv(65536):
            for event in server.receive_data(data):
                if isinstance(event, RequestReceived) and seen is not None:
                    seen.append({name.decode(): value.decode() for name, value in event.headers})
                if isinstance(event, StreamEnded):
                    answer(server, event.stream_id, connection)
            connection.sendall(server.data_to_send())

    return handle


def message(content: bytes, flag: int = 0) -> bytes:
    return bytes([flag]) + len(content).to_bytes(4, "big") + content


def replying(
    *,
    headers: Iterable[tuple[str, str]] = GRPC,
    body: bytes = b"",
    trailers: Iterable[tuple[str, str]] = OK,
) -> Answer:
    """Answer each request with this; no trailers means headers alone."""

    def answer(server: H2Connection, stream: int, _: socket.socket) -> None:
        trailing = [*trailers]
        server.send_headers(stream, [*headers], end_stream=not trailing)
        if body:
            server.send_data(stream, body)
        if trailing:
            server.send_headers(stream, trailing, end_stream=True)

    return answer


if TYPE_CHECKING:
    Method = grpc.RpcMethodHandler[bytes, bytes]


class Echo(grpc.GenericRpcHandler):
    """A real gRPC service that keeps what it was sent, and answers as each method's name says."""

    def __init__(self) -> None:
        self.metadata: dict[str, str | bytes] = {}
        self.request = b""
        self.hanging = threading.Event()

    def service(self, call: grpc.HandlerCallDetails) -> "Method | None":
        """Find the method by its path."""
        self.metadata = dict(call.invocation_metadata)
        method = getattr(self, call.method.removeprefix("/echo/"), None)
        return method and grpc.unary_unary_rpc_method_handler(method)

    def same(self, request: bytes, _: grpc.ServicerContext) -> bytes:
        self.request = request
        return request

    def long(self, request: bytes, _: grpc.ServicerContext) -> bytes:
        return bytes(int(request))

    def refuse(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, request.decode())
        raise AssertionError

    def hang(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.add_callback(self.hanging.set)
        self.hanging.wait(10)
        return request

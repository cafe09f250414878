"""HTTP/2 connections that do just what an attack wants: frames are built, not checked."""

import contextlib
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes
from hpack import Encoder
from hyperframe.frame import DataFrame, HeadersFrame, RstStreamFrame

ATTACKER = "127.0.0.66"
"""Where attacks come from: on Linux each 127.x.y.z is a peer of its own."""
WATCH = "/grpc.health.v1.Health/Watch"
CHECK = "/grpc.health.v1.Health/Check"
LIST = "/grpc.health.v1.Health/List"
SMOKE_TEST = "/petsage.v1.SmokeTestService/SmokeTest"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
EMPTY_MESSAGE = b"\0\0\0\0\0"
LIST_SERVICES = b"\0\0\0\0\2\x3a\0"
"""The reflection request `list_services: ""`."""
ACKNOWLEDGED = b"\0\0\0\4\1\0\0\0\0"
"""A SETTINGS frame with ACK."""
_CONNECT_TIMEOUT = 2.0
_CHUNK = 65536

Headers = Sequence[tuple[str, str]]


class OverError(Exception):
    """The time of the attack is over."""


def grpc_headers(path: str, *more: tuple[str, str], method: str = "POST") -> list[tuple[str, str]]:
    """Make the headers of a call."""
    return [
        (":method", method), (":scheme", "http"), (":path", path), (":authority", "attacked"),
        ("te", "trailers"), ("content-type", "application/grpc"), *more,
    ]  # fmt: skip


def encode(headers: Headers) -> bytes:
    """Encode headers so that any connection can send them: nothing enters the dynamic table."""
    encoder = Encoder()
    encoder.header_table_size = 0
    block: bytes = encoder.encode(headers)
    return block


def name_message(name: bytes) -> bytes:
    """Make the message of a Check or Watch of a name."""
    length, varint = len(name), bytearray()
    while length > 0x7F:
        varint.append(length & 0x7F | 0x80)
        length >>= 7
    body = b"\x0a" + bytes([*varint, length]) + name
    return b"\0" + len(body).to_bytes(4, "big") + body


def headers_frame(stream: int, block: bytes, *flags: str) -> bytes:
    """Make a HEADERS frame."""
    frame = HeadersFrame(stream, block)
    for flag in flags or ("END_HEADERS",):
        frame.flags.add(flag)
    return frame.serialize()


def data_frame(stream: int, data: bytes, *, end: bool = True) -> bytes:
    """Make a DATA frame."""
    frame = DataFrame(stream, data)
    if end:
        frame.flags.add("END_STREAM")
    return frame.serialize()


def reset_frame(stream: int) -> bytes:
    """Make a RST_STREAM frame with CANCEL."""
    return RstStreamFrame(stream, 8).serialize()


def wrong_path() -> bytes:
    """Make the headers of a call with a path that is not UTF-8."""
    path = encode([("x", "/PATH")])[-6:]
    return encode(grpc_headers("/PATH")).replace(path, b"\x03/\xff\xfe")


class Peer:
    """One connection of an attacker.

    What the server says is thrown away, but only while something is sent or `drain` is called.
    """

    def __init__(self, sock: socket.socket, until: float) -> None:
        self.sock = sock
        self.until = until
        self.stream = -1
        """The last stream that was used."""
        self._acknowledged = False

    def begin(self, **settings: int) -> None:
        """Send the preface and SETTINGS, by the h2 library.

        Args:
            settings: names of SettingCodes, such as INITIAL_WINDOW_SIZE=0.
        """
        http2 = H2Connection(H2Configuration(client_side=True))
        http2.initiate_connection()
        http2.update_settings({SettingCodes[name]: value for name, value in settings.items()})
        self.send(http2.data_to_send(), reading=False)  # nothing may be said before the preface

    def next_stream(self) -> int:
        self.stream += 2
        return self.stream

    def call(self, block: bytes, message: bytes = EMPTY_MESSAGE) -> int:
        """Make a whole call; return its stream."""
        stream = self.next_stream()
        self.send(headers_frame(stream, block) + data_frame(stream, message))
        return stream

    def send(self, data: bytes, *, reading: bool = True) -> None:
        """Send it all. Raises OverError when the time is over, OSError when the server hung up."""
        rest = memoryview(data)
        while rest:
            left = self.until - time.monotonic()
            if left <= 0:
                raise OverError
            ready = self._poll(select.POLLOUT | (select.POLLIN if reading else 0), left)
            if ready & select.POLLIN:
                self._read()
            if ready & ~select.POLLIN:
                with contextlib.suppress(BlockingIOError):
                    rest = rest[self.sock.send(rest) :]

    def drain(self) -> None:
        """Read what is there. Raises OSError when the server hung up."""
        while self._poll(select.POLLIN, 0):
            self._read()

    def _poll(self, wanted: int, seconds: float) -> int:
        poll = select.poll()  # select() knows no more than 1024 descriptors
        poll.register(self.sock, wanted)
        ready = poll.poll(1000 * seconds)
        return ready[0][1] if ready else 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            if not self.sock.recv(_CHUNK):
                raise ConnectionResetError("the server hung up")
            if not self._acknowledged:  # the first that it says are its SETTINGS
                self._acknowledged = True
                self.sock.send(ACKNOWLEDGED)


class Field:
    """Where an attack takes place: the server, the attacker's address, and how long.

    Args:
        address: host and port of the server.
        seconds: how long the attack takes.
    """

    def __init__(self, address: str, seconds: float) -> None:
        host, _, port = address.rpartition(":")
        self.server = (host, int(port))
        self.until = time.monotonic() + seconds
        self.count = 0
        """How often the attack did what it does."""
        self._opened: list[socket.socket] = []

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.until

    def dial(self, *, receive_buffer: int = 0) -> Peer:
        """Connect. Raises OverError when the time is over, OSError when there is no connection."""
        if self.over:
            raise OverError
        sock = socket.socket()
        try:
            sock.settimeout(max(0.01, min(_CONNECT_TIMEOUT, self.until - time.monotonic())))
            if receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.bind((ATTACKER, 0))
            sock.connect(self.server)
            sock.setblocking(False)
        except BaseException:
            sock.close()
            raise
        self._opened.append(sock)
        return Peer(sock, self.until)

    def leave(self) -> None:
        """Close what is still open."""
        for sock in self._opened:
            sock.close()

    def crowd(self, number: int) -> "Iterator[Peer]":
        """Connect so many times; who is not let in is passed over. All stay open."""
        for _ in range(number):
            try:
                yield self.dial()
            except OSError:
                self.wait(0.001)

    def wait(self, seconds: float = float("inf")) -> None:
        """Let time pass, at most to the end of the attack."""
        time.sleep(max(0.0, min(seconds, self.until - time.monotonic())))


Attack = Callable[[Field], None]


def collect(attacks: dict[str, Attack]) -> Callable[[Attack], Attack]:
    """Make what puts a function among these, by the name of what it does."""

    def put(attack: Attack) -> Attack:
        attacks[attack.__name__.strip("_").replace("_", "-")] = attack
        return attack

    return put


def call_frames(peer: "Peer", block: bytes, name: bytes) -> bytes:
    """Make the frames of a call that asks for a name, none longer than a server must take."""
    stream, message = peer.next_stream(), name_message(name)
    pieces = [message[at : at + 16384] for at in range(0, len(message), 16384)]
    frames = [data_frame(stream, piece, end=False) for piece in pieces[:-1]]
    return b"".join([headers_frame(stream, block), *frames, data_frame(stream, pieces[-1])])

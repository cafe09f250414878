"""HTTP/2 over one socket, read and written within deadlines: what h2 leaves to its user."""

import socket
import time
from collections.abc import Iterator
from typing import Final, NamedTuple

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import Event
from h2.exceptions import H2Error, NoSuchStreamError, ProtocolError
from h2.settings import SettingCodes, Settings

from petsage_grpc.rpc.client.unary import MAX_MESSAGE

__all__ = [
    "GOAWAY", "MAX_TIMEOUT", "SETTINGS", "Deadline", "Transport", "error_name", "fault", "words",
]  # fmt: skip

MAX_TIMEOUT: Final = 86400.0
"""The longest timeout, in seconds; a longer one is cut to it, because sockets overflow."""

SETTINGS: Final = 4
GOAWAY: Final = 7
"""Types of frames."""

_WINDOW: Final = MAX_MESSAGE + 65536  # a whole answer, so that no window need be waited for
_CHUNK: Final = 65536
_FRAME_HEADER: Final = 9


class Deadline:
    """A moment `seconds` from now."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + min(seconds, MAX_TIMEOUT)

    def left(self) -> float:
        """Return the seconds until then. Raises TimeoutError when it is over."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class _Goodbye(NamedTuple):
    """A GOAWAY frame."""

    last_stream: int
    words: str


class Transport:
    """One socket, connected, and the state of HTTP/2 on it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.unread = bytearray()
        """What the server sent and h2 has not seen yet."""
        self.goodbye: _Goodbye | None = None
        """What the server said when it said that it goes away."""
        self.h2 = H2Connection(H2Configuration(client_side=True))
        self.h2.local_settings = Settings(
            client=True,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: _WINDOW,
                SettingCodes.MAX_HEADER_LIST_SIZE: H2Connection.DEFAULT_MAX_HEADER_LIST_SIZE,
            },
        )
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(_WINDOW)

    def flush(self, deadline: Deadline) -> None:
        """Send what h2 has queued. Raises TimeoutError."""
        data = self.h2.data_to_send()
        try:
            while data:
                self.sock.settimeout(deadline.left())
                data = data[self.sock.send(data) :]
        except TimeoutError:
            raise
        except OSError:
            pass  # what the server said before it closed tells more: reading finds it

    def read(self, deadline: Deadline) -> None:
        """Wait for bytes from the server. Raises OSError when it has closed, or TimeoutError."""
        self.sock.settimeout(deadline.left())
        data = self.sock.recv(_CHUNK)
        if not data:
            raise ConnectionError("the server closed it")
        self.unread += data

    def events(self) -> Iterator[Event]:
        """Feed what has been read to h2 frame by frame, and keep GOAWAY from it.

        h2 takes no frame after a GOAWAY, whereas a server that says it still answers what it has.
        Raises H2Error when the server breaks the rules of HTTP/2.
        """
        while len(self.unread) >= _FRAME_HEADER:
            length = int.from_bytes(self.unread[:3], "big")
            if length > self.h2.max_inbound_frame_size:
                raise ProtocolError(f"a frame of {length} bytes")
            if len(self.unread) < _FRAME_HEADER + length:
                return
            frame = bytes(self.unread[: _FRAME_HEADER + length])
            del self.unread[: len(frame)]
            if frame[3] == GOAWAY:
                self.goodbye = _read_goodbye(frame[_FRAME_HEADER:])
            else:
                yield from self.h2.receive_data(frame)

    def cancel(self, stream: int) -> None:
        """Tell the server that nobody waits for this stream, if that can be done at once."""
        try:
            self.h2.reset_stream(stream, ErrorCodes.CANCEL)
            self.sock.settimeout(0)
            self.sock.send(self.h2.data_to_send())
        except (OSError, H2Error):
            pass


def _read_goodbye(payload: bytes) -> _Goodbye:
    name = error_name(int.from_bytes(payload[4:8], "big"))
    debug = payload[8:].decode(errors="replace")
    said = f"the server is going away (GOAWAY {name}{f': {debug}' if debug else ''})"
    return _Goodbye(int.from_bytes(payload[:4], "big") & 0x7FFFFFFF, said)


def error_name(code: int) -> str:
    """Name an error code of HTTP/2, such as ``"REFUSED_STREAM"``."""
    try:
        return ErrorCodes(code).name
    except ValueError:
        return f"error {code}"


def fault(error: H2Error) -> str:
    """Say which rule of HTTP/2 was broken."""
    if isinstance(error, NoSuchStreamError):
        return f"stream {error.stream_id} is not open"  # its own text is that number alone
    return str(error)


def words(error: OSError) -> str:
    """Say what the system said, as a part of our own sentence."""
    said = error.strerror or str(error) or "timed out"
    return said if said[:2].isupper() else said[:1].lower() + said[1:]

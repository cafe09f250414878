"""The link between an application and its plane's process: neither ever waits for the other."""

import asyncio
import logging
import pickle
import socket
import struct
from collections.abc import Callable
from typing import Any, Final

__all__ = ["Link"]

_LENGTH: Final = struct.Struct("!I")
_LONGEST: Final = 64 * 1024 * 1024
_log = logging.getLogger("petsage_grpc.plane")

_BUFFERED: Final = 64 * 1024
"""Bytes that may wait to be written before messages wait instead, the newest of each key."""


class Link(asyncio.Protocol):
    """One end of a pair of sockets, on the running event loop.

    A message that has not gone out yet is replaced by the next one of its key: what waits for a
    peer that does not read is bounded by the number of keys.

    Args:
        hear: takes each message.
        lost: called once, when the peer is gone.
    """

    def __init__(self, hear: Callable[[Any], None], lost: Callable[[], None]) -> None:
        self._hear = hear
        self._lost = lost
        self._waiting: dict[object, Any] = {}
        self._transport: asyncio.Transport | None = None
        self._flowing = True
        self._read = bytearray()

    @classmethod
    async def open(
        cls, end: socket.socket, hear: Callable[[Any], None], lost: Callable[[], None]
    ) -> "Link":
        """Begin to talk over a connected socket."""
        loop = asyncio.get_running_loop()
        _, link = await loop.create_connection(lambda: cls(hear, lost), sock=end)
        return link

    def put(self, key: object, message: Any) -> None:  # noqa: ANN401 -- whatever can be pickled
        """Send a message, or let it wait; one that waits under this key is dropped for it."""
        self._waiting.pop(key, None)  # for it to be the last: what it needs may be new too
        self._waiting[key] = message
        self._flush()

    @property
    def backlog(self) -> int:
        """How many messages wait."""
        return len(self._waiting)

    def close(self) -> None:
        """Say goodbye, once what waits has been sent."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=_BUFFERED)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell that the peer is gone."""
        del error
        self._transport = None
        self._lost()

    def pause_writing(self) -> None:
        """Let messages wait: the peer does not read."""
        self._flowing = False

    def resume_writing(self) -> None:
        """Send what waits."""
        self._flowing = True
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Take what has come in, and hand on every message that is complete."""
        self._read += data
        while len(self._read) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._read)
            if length > _LONGEST:
                self.close()
                return
            end = _LENGTH.size + length
            if len(self._read) < end:
                return
            raw = bytes(self._read[_LENGTH.size : end])
            del self._read[:end]
            try:
                message = pickle.loads(raw)  # noqa: S301 -- the peer is a process of our own
            except Exception:  # noqa: BLE001 -- to unpickle can raise anything
                _log.exception("a message can not be read")
                continue
            self._hear(message)

    def _flush(self) -> None:
        while self._waiting and self._flowing and self._transport is not None:
            key = next(iter(self._waiting))
            message = self._waiting.pop(key)
            try:
                raw = pickle.dumps(message)
            except Exception:  # noqa: BLE001 -- it costs this message alone
                _log.exception("the plane's process can not be told %r", message[0])
                continue
            if len(raw) > _LONGEST:
                _log.error("the plane's process can not be told %r: too long", message[0])
                continue
            self._transport.write(_LENGTH.pack(len(raw)) + raw)

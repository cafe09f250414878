"""Sends each HTTP request over a connection of its own, which is dialled as every kind does it."""

from collections.abc import Awaitable, Callable
from typing import Final

import h11
import httpx

from petsage_grpc.checks._dial import Connection

__all__ = ["BrokenAnswerError", "FreshTransport"]

_PIECE: Final = 16 * 1024
"""Bytes that are read at once."""

_MOST_HEAD: Final = 64 * 1024
"""Bytes that the head of an answer may have."""

_FOR_HTTPX: Final = (b"location", b"set-cookie")
"""Headers that mean something to httpx here: it is not to decode a body that it is not given."""


class BrokenAnswerError(Exception):
    """What a server sent is no answer in HTTP, or not all of one.

    Attributes:
        heard: the first bytes of it; none if the connection was just closed.
        begun: whether the head of the answer was whole.
    """

    def __init__(self, heard: bytes, *, begun: bool) -> None:
        super().__init__("no whole answer in HTTP")
        self.heard = heard
        self.begun = begun


class FreshTransport(httpx.AsyncBaseTransport):
    """Lets httpx send requests without a body, each over a connection that no other has used.

    Timeouts are not its affair: a run that takes too long is cancelled.

    Args:
        connect: opens a connection to where a URL leads.
        max_body: how many bytes of a body are read.
        on_head: called when the head of an answer has come, and the body is waited for.

    Attributes:
        body: what was read of the last answer's body.
    """

    def __init__(
        self,
        connect: Callable[[httpx.URL], Awaitable[Connection]],
        max_body: int,
        on_head: Callable[[], None],
    ) -> None:
        self._connect = connect
        self._max_body = max_body
        self._on_head = on_head
        self.body = b""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and read its answer. Raises BrokenAnswerError and OSError."""
        connection = await self._connect(request.url)
        try:
            head = await self._exchange(connection, request)
            await connection.close()
        finally:
            connection.abort()
        headers = [item for item in head.headers if item[0] in _FOR_HTTPX]
        return httpx.Response(head.status_code, headers=headers, request=request)

    async def _exchange(self, connection: Connection, request: httpx.Request) -> h11.Response:
        protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MOST_HEAD)
        asked = h11.Request(
            method=request.method, target=request.url.raw_path, headers=request.headers.raw
        )
        for part in (asked, h11.EndOfMessage()):
            connection.writer.write(protocol.send(part) or b"")
        await connection.writer.drain()
        heard, head, self.body = b"", None, b""
        while True:
            try:
                event = protocol.next_event()
            except h11.RemoteProtocolError as error:
                raise BrokenAnswerError(heard, begun=head is not None) from error
            if event is h11.NEED_DATA:
                data = await connection.reader.read(_PIECE)
                heard = heard or data
                protocol.receive_data(data)
            elif isinstance(event, h11.Response):
                head = event
                self._on_head()
            elif isinstance(event, h11.Data):
                self.body += event.data
            elif not isinstance(event, h11.InformationalResponse):  # the end
                break
            if head is not None and len(self.body) >= self._max_body:
                break
        assert head is not None  # h11 sees that nothing comes before it
        self.body = self.body[: self._max_body]
        return head

"""One connection to a gRPC server and the unary calls on it."""

from collections.abc import Iterable
from typing import Self

from h2.events import (
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import H2Error, ProtocolError, TooManyStreamsError

from petsage_grpc import __version__
from petsage_grpc.rpc.client.address import Address
from petsage_grpc.rpc.client.dial import dial
from petsage_grpc.rpc.client.errors import RpcError
from petsage_grpc.rpc.client.tls import Tls
from petsage_grpc.rpc.client.transport import (
    MAX_TIMEOUT,
    Deadline,
    Transport,
    error_name,
    fault,
    words,
)
from petsage_grpc.rpc.client.unary import (
    Reply,
    check_metadata,
    check_value,
    frame_message,
    reset_error,
    timeout_header,
)

__all__ = ["Connection"]

_DEADLINE_EXCEEDED, _INTERNAL, _UNAVAILABLE = 4, 13, 14


class Connection:
    """A gRPC connection to one server, for one RPC at a time; `connect` makes it.

    A context manager that closes it.
    """

    def __init__(
        self, transport: Transport, *, scheme: str, authority: str, user_agent: str
    ) -> None:
        self._transport = transport
        self._scheme = scheme
        self._authority = authority
        self._user_agent = user_agent

    @classmethod
    def connect(
        cls,
        address: Address,
        timeout: float,
        tls: Tls | None = None,
        user_agent: str = f"petsage-grpc/{__version__}",
    ) -> Self:
        """Connect within `timeout` seconds; it counts once the server's SETTINGS are there.

        Raises ConnectError, and before anything is sent TlsOptionError, or ValueError for a user
        agent that is not printable ASCII.
        """
        user_agent = check_value(user_agent)
        authority = (tls and tls.wire_name) or address.authority
        transport = dial(address, timeout, tls)
        scheme = "https" if tls else "http"
        return cls(transport, scheme=scheme, authority=authority, user_agent=user_agent)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; an RPC still open on it is lost."""
        self._transport.sock.close()

    def call(
        self,
        method: str,
        request: bytes,
        timeout: float,
        metadata: Iterable[tuple[str, str]] = (),
        *,
        gzip: bool = False,
    ) -> bytes:
        """Make one unary RPC and return its answer.

        Args:
            method: its path, such as ``"/grpc.health.v1.Health/Check"``.
            request: the message as it goes on the wire.
            timeout: seconds for everything.
            metadata: headers to send with it.
            gzip: whether to compress the request.

        Raises:
            RpcError: for every status but OK, and when the connection breaks.
            MetadataError: when a header can not be sent.
        """
        deadline, reply, transport = Deadline(timeout), Reply(), self._transport
        rest = frame_message(request, gzip=gzip)
        stream = self._begin(method, timeout, metadata, gzip=gzip)
        try:
            while True:
                for event in transport.events():
                    self._take(event, stream, reply)
                    if reply.ended:
                        return reply.message()
                if transport.goodbye and stream > transport.goodbye.last_stream:
                    raise RpcError(_UNAVAILABLE, transport.goodbye.words)
                rest = self._send(stream, rest)
                transport.flush(deadline)
                transport.read(deadline)
        except TimeoutError:
            raise RpcError(_DEADLINE_EXCEEDED, f"no answer within {timeout:g}s") from None
        except H2Error as error:
            said = fault(error)
            raise RpcError(_INTERNAL, f"the server breaks the rules of HTTP/2: {said}") from None
        except OSError as error:
            said = transport.goodbye.words if transport.goodbye else words(error)
            raise RpcError(_UNAVAILABLE, f"the connection ended too early: {said}") from None
        finally:
            if not reply.ended:
                transport.cancel(stream)

    def _begin(
        self, method: str, timeout: float, metadata: Iterable[tuple[str, str]], *, gzip: bool
    ) -> int:
        """Queue the headers of a new stream and return its number."""
        headers = [
            (":method", "POST"),
            (":scheme", self._scheme),
            (":path", method),
            (":authority", self._authority),
            ("grpc-timeout", timeout_header(min(timeout, MAX_TIMEOUT))),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", self._user_agent),
            ("grpc-accept-encoding", "identity,gzip"),
            *([("grpc-encoding", "gzip")] if gzip else []),
            *(check_metadata(name, value) for name, value in metadata),
        ]
        if self._transport.goodbye:
            raise RpcError(_UNAVAILABLE, self._transport.goodbye.words)
        try:
            stream = self._transport.h2.get_next_available_stream_id()
            self._transport.h2.send_headers(stream, headers)
        except TooManyStreamsError:
            raise RpcError(_UNAVAILABLE, "the server admits no RPC on this connection") from None
        except ProtocolError as error:
            raise RpcError(_INTERNAL, f"HTTP/2 does not take the RPC: {error}") from None
        return stream

    def _send(self, stream: int, body: bytes) -> bytes:
        """Queue as much of the body as the server's windows admit; return the rest."""
        h2 = self._transport.h2
        while body:
            room = min(h2.local_flow_control_window(stream), h2.max_outbound_frame_size)
            if room <= 0:
                break
            h2.send_data(stream, body[:room], end_stream=len(body) <= room)
            body = body[room:]
        return body

    def _take(self, event: Event, stream: int, reply: Reply) -> None:
        if getattr(event, "stream_id", None) != stream:
            return  # of the connection, or of an RPC given up earlier
        match event:
            case ResponseReceived():
                reply.add_headers(event.headers)
            case DataReceived():
                self._transport.h2.acknowledge_received_data(event.flow_controlled_length, stream)
                reply.add_data(event.data)
            case TrailersReceived():
                reply.add_headers(event.headers, trailers=True)
            case StreamEnded():
                reply.ended = True
            case StreamReset():
                reply.ended = True
                raise reset_error(error_name(event.error_code))
            case _:
                pass

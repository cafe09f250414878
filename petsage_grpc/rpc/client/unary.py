"""What gRPC says inside HTTP/2 about one unary RPC: messages, metadata, timeout and status."""

import re
from collections.abc import Iterable
from typing import Final

from petsage_grpc.rpc.client.errors import MetadataError, RpcError

__all__ = [
    "MAX_MESSAGE", "Reply", "check_metadata", "check_value", "frame_message", "reset_error",
    "timeout_header",
]  # fmt: skip

MAX_MESSAGE: Final = 4 * 1024 * 1024
"""The longest message that is taken, in bytes, as in every gRPC client by default."""

_PREFIX: Final = 5  # one byte that says whether it is compressed, four for the length
_GZIP: Final = 31  # zlib's number for "with a gzip header"
_HTTP_OK: Final = "200"
_LONGEST_IN_MICROSECONDS: Final = 99  # seconds; the header has eight digits

_CANCELLED, _UNKNOWN, _EXHAUSTED, _UNIMPLEMENTED = 1, 2, 8, 12
_INTERNAL, _UNAVAILABLE = 13, 14

# the mapping of the gRPC specification for an answer without grpc-status
_FROM_HTTP: Final = {
    "400": _INTERNAL, "401": 16, "403": 7, "404": _UNIMPLEMENTED,
    "429": _UNAVAILABLE, "502": _UNAVAILABLE, "503": _UNAVAILABLE, "504": _UNAVAILABLE,
}  # fmt: skip

# the same for RST_STREAM, by the names of HTTP/2's error codes
_FROM_RESET: Final = {
    "REFUSED_STREAM": _UNAVAILABLE, "CANCEL": _CANCELLED, "ENHANCE_YOUR_CALM": _EXHAUSTED,
    "INADEQUATE_SECURITY": 7, "STREAM_CLOSED": _UNKNOWN, "HTTP_1_1_REQUIRED": _UNKNOWN,
}  # fmt: skip

_OURS: Final = frozenset((
    "connection", "content-length", "content-type", "host", "keep-alive", "proxy-connection", "te",
    "transfer-encoding", "upgrade", "user-agent",
))  # fmt: skip
_IN_NAMES: Final = frozenset("0123456789abcdefghijklmnopqrstuvwxyz_.-")


def check_value(value: str) -> str:
    """Return a header's value without the spaces around it.

    Raises ValueError when it has anything but printable ASCII.
    """
    if not (value.isascii() and value.isprintable()):
        raise ValueError("only printable ASCII can be sent")
    return value.strip()


def check_metadata(name: str, value: str) -> tuple[str, str]:
    """Return a header as it goes on the wire. Raises MetadataError."""
    name = name.strip().lower()
    if not name or not _IN_NAMES.issuperset(name):
        raise MetadataError(name, 'a name has letters, digits, "-", "_" and "." alone')
    if name in _OURS or name.startswith("grpc-"):
        raise MetadataError(name, "it belongs to the protocol; leave it out")
    if name.endswith("-bin"):
        import binascii  # noqa: PLC0415 -- hardly ever needed

        raw = value.strip().encode(errors="surrogateescape")
        return name, binascii.b2a_base64(raw, newline=False).decode().rstrip("=")
    try:
        return name, check_value(value)
    except ValueError as error:
        raise MetadataError(name, f'{error}; a name ending in "-bin" takes any') from None


def timeout_header(seconds: float) -> str:
    """Write a timeout of less than a day as gRPC does."""
    if seconds < _LONGEST_IN_MICROSECONDS:
        return f"{max(1, int(seconds * 1e6))}u"
    return f"{int(seconds * 1e3)}m"


def frame_message(message: bytes, *, gzip: bool) -> bytes:
    """Put the prefix before a message, and compress it first if asked."""
    if gzip:
        import zlib  # noqa: PLC0415 -- only who asks for gzip pays for it

        message = zlib.compress(message, wbits=_GZIP)
    return bytes([gzip]) + len(message).to_bytes(4, "big") + message


def reset_error(name: str) -> RpcError:
    """Turn the error code of an RST_STREAM, by its name, into an RpcError."""
    return RpcError(_FROM_RESET.get(name, _INTERNAL), f"the server reset the stream ({name})")


class Reply:
    """Takes the answer to one RPC in, piece by piece."""

    def __init__(self) -> None:
        self.ended = False
        """Whether the server has said everything."""
        self._headers: dict[str, str] = {}
        self._trailers: dict[str, str] = {}
        self._body = bytearray()

    def add_headers(self, pairs: Iterable[tuple[bytes, bytes]], *, trailers: bool = False) -> None:
        """Take headers or trailers in."""
        into = self._trailers if trailers else self._headers
        into.update((name.decode("latin-1"), value.decode("latin-1")) for name, value in pairs)

    def add_data(self, data: bytes) -> None:
        """Take a piece of the body in. Raises RpcError as soon as it is known to be too long."""
        self._body += data
        if len(self._body) >= _PREFIX:
            length = int.from_bytes(self._body[1:_PREFIX], "big")
            if max(length, len(self._body) - _PREFIX) > MAX_MESSAGE:
                raise RpcError(_EXHAUSTED, f"the answer is longer than {MAX_MESSAGE} bytes")

    def message(self) -> bytes:
        """Return the one message of an answer that has ended. Raises RpcError."""
        last = self._trailers or self._headers  # an error may come as headers alone
        status = last.get("grpc-status")
        if status is None:
            raise self._without_status()
        code = int(status) if re.fullmatch("[0-9]{1,3}", status) else _UNKNOWN
        if code:
            raise RpcError(code, _percent_decode(last.get("grpc-message", "")))
        length = int.from_bytes(self._body[1:_PREFIX], "big")
        if len(self._body) < _PREFIX or len(self._body) != _PREFIX + length:
            raise RpcError(_INTERNAL, "the server said OK without one whole message")
        message = bytes(self._body[_PREFIX:])
        return self._decompress(message) if self._body[0] else message

    def _without_status(self) -> RpcError:
        http = self._headers.get(":status", "none")
        kind = self._headers.get("content-type", "none")
        if http != _HTTP_OK:
            code = _FROM_HTTP.get(http, _UNKNOWN)
            return RpcError(code, f"the server answered with HTTP status {http}, without gRPC's")
        return RpcError(_UNKNOWN, f"the server answered without gRPC's status ({kind})")

    def _decompress(self, message: bytes) -> bytes:
        encoding = self._headers.get("grpc-encoding", "identity")
        if encoding != "gzip":
            raise RpcError(_INTERNAL, f'the answer is compressed as "{encoding}", not gzip')
        import zlib  # noqa: PLC0415 -- only a compressed answer needs it

        unpacker = zlib.decompressobj(wbits=_GZIP)
        try:
            message = unpacker.decompress(message, MAX_MESSAGE + 1)
        except zlib.error as error:
            raise RpcError(_INTERNAL, f"the answer is broken gzip ({error})") from None
        if len(message) > MAX_MESSAGE:
            raise RpcError(_EXHAUSTED, f"the unpacked answer is longer than {MAX_MESSAGE} bytes")
        if not unpacker.eof:
            raise RpcError(_INTERNAL, "the answer is broken gzip (it ends too early)")
        return message


def _percent_decode(text: str) -> str:
    """Decode grpc-message; what is no escape stays as it is."""
    raw = re.sub(
        rb"%([0-9A-Fa-f]{2})", lambda found: bytes([int(found[1], 16)]), text.encode("latin-1")
    )
    return raw.decode(errors="replace")

"""Writes and reads a health check's two messages, because importing protobuf costs too much."""

from typing import Final

__all__ = ["CHECK", "decode_status", "encode_request", "status_name"]

CHECK: Final = "/grpc.health.v1.Health/Check"
"""The path of the RPC."""

_STATUSES: Final = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
_STRING_1: Final = b"\x0a"  # field 1, length-delimited
_STATUS_FIELD, _VARINT, _FIXED64, _BYTES, _FIXED32 = 1, 0, 1, 2, 5
_LONGEST_VARINT: Final = 10


def encode_request(service: str) -> bytes:
    """Write a HealthCheckRequest. Raises UnicodeEncodeError when `service` is not Unicode."""
    name = service.encode()
    return _STRING_1 + _encode_varint(len(name)) + name if name else b""


def decode_status(message: bytes) -> int:
    """Read the status of a HealthCheckResponse; fields that are not known are passed over.

    Raises ValueError when the message is none.
    """
    status, at = 0, 0
    while at < len(message):
        key, at = _decode_varint(message, at)
        field, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _decode_varint(message, at)
            if field == _STATUS_FIELD:
                status = value
        elif kind == _BYTES:
            length, at = _decode_varint(message, at)
            at += length
        elif kind in (_FIXED32, _FIXED64):
            at += 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind}")
        if not field:
            raise ValueError("field 0")
    if at > len(message):
        raise ValueError("cut short")
    return status


def status_name(status: int) -> str:
    """Name a status; one that is not known is its number."""
    return _STATUSES[status] if 0 <= status < len(_STATUSES) else str(status)


def _encode_varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:  # noqa: PLR2004 -- seven bits in each byte
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _decode_varint(message: bytes, at: int) -> tuple[int, int]:
    """Return the number at `at`, and where the next thing stands."""
    number = 0
    for index, byte in enumerate(message[at : at + _LONGEST_VARINT]):
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:  # noqa: PLR2004 -- the last byte lacks the eighth bit
            return number, at + index + 1
    raise ValueError("cut short")

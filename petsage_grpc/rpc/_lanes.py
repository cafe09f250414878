"""Has connections of one address meet one server of several: no other waits in its line."""

import ctypes
import secrets
import socket
import struct
from collections.abc import Sequence
from typing import Final

__all__ = ["LANES", "SPARES", "share", "steer"]

LANES: Final = 16
"""Servers on a port, a power of two; each answers what calls it gets in the order they come."""
SPARES: Final = 4
"""Servers that nobody is steered to: when another ends, the kernel puts the last in its place."""

_SO_ATTACH_REUSEPORT_CBPF: Final = 51
_LIBC: Final = ctypes.PyDLL(None)

# Instructions of the classic packet filter, and where it finds what is not of the segment itself.
_LOAD, _TO_X, _ADD_X, _ADD, _TIMES, _SHIFT, _RETURN = 0x20, 0x07, 0x0C, 0x04, 0x24, 0x74, 0x16
_XOR_X = 0xAC
_JUMP, _IF_EQUAL = 0x05, 0x15
_PROTOCOL, _NETWORK, _IPV6 = 0xFFFFF000, 0xFFF00000, 0x86DD
_IPV4_SOURCE, _IPV6_SOURCE = _NETWORK + 12, _NETWORK + 8

_Instruction = tuple[int, int, int, int]


def share(listeners: Sequence[int]) -> bool:
    """Let more servers of this user listen where these do; say whether the system can.

    They have been bound without it, so that of two that start at once one is refused.
    """
    return bool(listeners) and all(
        _set(listener, socket.SO_REUSEPORT, struct.pack("i", 1)) for listener in listeners
    )


def steer(listeners: Sequence[int]) -> bool:
    """Have who connects there meet a server by the address alone; say whether the system can.

    Without that it goes by the port of the caller as well, so one address meets all servers.
    """
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in _program())
    buffer = ctypes.create_string_buffer(program, len(program))
    told = struct.pack("HP", len(program) // 8, ctypes.addressof(buffer))
    return all(_set(listener, _SO_ATTACH_REUSEPORT_CBPF, told) for listener in listeners)


def _set(descriptor: int, option: int, value: bytes) -> bool:
    failed: int = _LIBC.setsockopt(descriptor, socket.SOL_SOCKET, option, value, len(value))
    return not failed


def _program() -> list[_Instruction]:
    """Make the filter that numbers the server: a hash of the address that nobody can foresee.

    Each word of the address is multiplied by an odd number of its own that nobody knows. That
    leaves neighbours at equal steps, which may be small: so the sum is folded and multiplied twice.
    """
    ipv6 = [_load(0), _times()]
    for word in (4, 8, 12):
        ipv6 += [(_TO_X, 0, 0, 0), _load(word), _times(), (_ADD_X, 0, 0, 0)]
    ipv4 = [(_LOAD, 0, 0, _IPV4_SOURCE), _times(), (_JUMP, 0, 0, len(ipv6))]
    return [
        (_LOAD, 0, 0, _PROTOCOL),
        (_IF_EQUAL, len(ipv4), 0, _IPV6),
        *ipv4,
        *ipv6,
        (_ADD, 0, 0, secrets.randbits(32)),
        *_fold(),
        _times(),
        *_fold(),
        _times(),
        (_SHIFT, 0, 0, 33 - LANES.bit_length()),
        (_RETURN, 0, 0, 0),
    ]


def _load(word: int) -> _Instruction:
    return (_LOAD, 0, 0, _IPV6_SOURCE + word)


def _fold() -> list[_Instruction]:
    return [(_TO_X, 0, 0, 0), (_SHIFT, 0, 0, 16), (_XOR_X, 0, 0, 0)]


def _times() -> _Instruction:
    return (_TIMES, 0, 0, secrets.randbits(32) | 1)

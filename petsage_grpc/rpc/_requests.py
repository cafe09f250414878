"""Reads requests so that a malformed one is the caller's error and no traceback of ours."""

from collections.abc import Callable
from typing import NoReturn, Protocol, TypeVar
from urllib.parse import unquote

import grpc
from google.protobuf.message import DecodeError

from petsage_grpc.core.text import printable

__all__ = ["Context", "abort", "caller_of", "parse", "peer_in", "peer_of", "quote"]

_LONGEST_QUOTE = 200


class Context(Protocol):
    """What we use of the context of a call on grpc.aio, where messages are raw bytes."""

    async def abort(self, code: grpc.StatusCode, details: str = "") -> NoReturn:
        """End the call with an error."""

    async def write(self, message: bytes) -> None:
        """Send a message of a stream; returns when the transport has taken it."""

    def add_done_callback(self, callback: Callable[[object], None]) -> None:
        """Have a function called when the call is over."""

    def peer(self) -> str:
        """Say who calls."""


class _Message(Protocol):
    def ParseFromString(self, serialized: bytes) -> int: ...  # noqa: N802 -- protobuf's name


_M = TypeVar("_M", bound=_Message)


async def parse(message: type[_M], raw: bytes, context: Context) -> _M:
    """Read a request; one that is not well-formed ends the call with INVALID_ARGUMENT."""
    parsed = message()
    try:
        parsed.ParseFromString(raw)
    except DecodeError:
        name = message.__name__
        await abort(context, "INVALID_ARGUMENT", f"not a {name}: malformed, or text not UTF-8")
    return parsed


async def abort(context: Context, code: str, details: str) -> NoReturn:
    """End the call with the error of that name."""
    await context.abort(grpc.StatusCode[code], details)


def quote(text: str) -> str:
    """Put a caller's text into quotes, fit for a log line, and shortened as for a trailer."""
    shown = printable(text)
    return f'"{shown}"' if len(shown) <= _LONGEST_QUOTE else f'"{shown[:_LONGEST_QUOTE]}…"'


def caller_of(context: Context) -> str:
    """Say who calls: the address without its scope, and the port.

    All that come by a unix socket are one.
    """
    family, _, rest = context.peer().partition(":")
    if family not in ("ipv4", "ipv6"):
        return f"{family}:"
    host, _, port = unquote(rest).rpartition(":")
    return f"{host.strip('[]').partition('%')[0]}:{port}"


def peer_of(context: Context) -> str:
    """Say who calls: the address without the port."""
    return peer_in(caller_of(context))


def peer_in(caller: str) -> str:
    """Take the address out of what `caller_of` says."""
    return caller.rpartition(":")[0]

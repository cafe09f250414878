"""Opens the connections of the kinds that speak for themselves, and says why when one fails."""

import asyncio
import errno
import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from petsage_grpc.checks._thread import run_blocking
from petsage_grpc.checks._tls import TlsSettings
from petsage_grpc.core.check import Check, CheckFailedError

__all__ = [
    "Address",
    "Connection",
    "Tls",
    "dial",
    "explain_network",
    "open_socket",
    "parse_address",
]

_EXAMPLE: Final = 'write it like "ledger:5000", "[::1]:5000" or "unix:/run/ledger.sock"'
_LAST_PORT: Final = 65535

_HEAD_START: Final = 0.25
"""Seconds that one address of a name has before the next is tried beside it (RFC 8305)."""

_NEVER: Final = 24 * 3600.0
"""Seconds after which a handshake is given up, for it must be told: a run is cancelled sooner."""

_NO_ROUTE: Final = (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""What an address fails with of a family that this machine does not have."""

_MENDS: Final = {
    errno.ECONNREFUSED: "{0} refuses connections: start what should listen there, or correct the"
    " address",
    errno.ECONNRESET: "{0} broke the connection off: look into its log",
    errno.EPIPE: "{0} broke the connection off: look into its log",
    errno.EHOSTUNREACH: "no way leads to {0}: look at routes and firewalls",
    errno.ENETUNREACH: "no way leads to {0}: look at routes and firewalls",
    errno.ETIMEDOUT: "{0} does not answer: see whether a firewall is between",
    errno.ENOENT: "there is no {0}: start what should listen there, or correct the path",
    errno.EACCES: "this user may not connect to {0}: change the mode of the socket",
    errno.EPERM: "a firewall here forbids to connect to {0}: change its rules",
    errno.EAGAIN: "{0} takes no connection: its queue is full, see what it is busy with",
}

_Place = str | tuple[object, ...]
_Places = Sequence[tuple[socket.AddressFamily, _Place]]


class Address(NamedTuple):
    """Where a server listens."""

    shown: str
    """As people read it."""
    host: str
    """Without brackets; "localhost" for a Unix socket, whose certificate would be for that."""
    port: int = 0
    path: str = ""
    """The Unix socket, if it is one."""


class Tls(NamedTuple):
    """How to speak TLS on a connection, and how the settings would have none."""

    settings: TlsSettings
    turn_off: str


class Connection(NamedTuple):
    """An open connection: whoever dialled it closes it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def close(self) -> None:
        """End it in good order, but do not wait for the server to do so too."""
        self.writer.close()  # this says in TLS that we leave
        self.abort()
        with suppress(OSError):
            await self.writer.wait_closed()

    def abort(self) -> None:
        """End it at once; it may have ended already."""
        self.writer.transport.abort()


def parse_address(text: str) -> Address:
    """Read ``host:port``, ``[v6]:port`` or ``unix:path``.

    Raises ValueError, without the text where it may hold a password.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path or "\0" in path:
            raise ValueError(f"{text!r} names no socket: {_EXAMPLE}")
        return Address(f"unix:{path}", "localhost", path=path)
    if "/" in text or "@" in text:
        raise ValueError(f"it is a URL or the like: {_EXAMPLE}")
    host, _, port = text.rpartition(":")
    if not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) <= _LAST_PORT:
        raise ValueError(f"{text!r} has no port from 1 to {_LAST_PORT}: {_EXAMPLE}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        with suppress(ValueError):
            return Address(text, str(ipaddress.IPv6Address(host)), int(port))
    elif re.fullmatch(r"[^\s:%\[\]]+", host) and host.isprintable():
        with suppress(UnicodeError):
            return Address(text, host.encode("idna").decode(), int(port))
    raise ValueError(f"{text!r} is no host and port: {_EXAMPLE}")


async def dial(check: Check, address: Address, tls: Tls | None = None) -> Connection:
    """Connect, to whichever address of a name answers first, and shake hands in TLS where wanted.

    What is waited for is told in `check.doing`. Raises CheckFailedError.
    """

    def tell(doing: str) -> None:
        check.doing = doing

    try:
        connected = await open_socket(address, tell, check)
    except socket.gaierror as error:
        raise CheckFailedError(_unresolved(error, address.host)) from error
    except OSError as error:
        raise CheckFailedError(explain_network(error, address.shown)) from error
    try:
        return await _speak(check, address, connected, tls)
    except BaseException:
        connected.close()  # or what asyncio made of it has closed it already
        raise


async def open_socket(
    address: Address, tell: Callable[[str], None], check: Check | None = None
) -> socket.socket:
    """Connect to whichever address of a name answers first, and `tell` what is waited for.

    Raises OSError; socket.gaierror when the name is not found.
    """
    places = await _look_up(check, address, tell)
    tell(f"connecting to {address.shown}")
    return await _connect_any(places)


def explain_network(error: OSError, server: str) -> str:
    """Say in one line why the network failed on the way to a server, with the mend."""
    mend = _MENDS.get(error.errno or 0)
    return mend.format(server) if mend else f"{server} can not be reached: {_said(error)}"


def _said(error: OSError) -> str:
    return error.strerror or str(error).partition("\n")[0] or type(error).__name__


async def _look_up(check: Check | None, address: Address, tell: Callable[[str], None]) -> _Places:
    """Find all places that an address stands for."""
    if address.path:
        return [(socket.AF_UNIX, address.path)]
    with suppress(OSError):
        return _ask(address, socket.AI_NUMERICHOST)  # asks nobody, so it needs no thread
    tell(f"looking up {address.host}")
    found: list[_Places] = []
    # Not on the loop's threads, which all share: a resolver can hang longer than any run.
    await run_blocking(check, lambda: found.append(_ask(address)), name="petsage look-up")
    return found[0]


def _ask(address: Address, flags: int = 0) -> _Places:
    answers = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=flags)
    return [(family, place) for family, *_, place in answers]


def _unresolved(error: socket.gaierror, host: str) -> str:
    if error.errno == socket.EAI_AGAIN:
        return f"no DNS server answers for {host}: see whether those of this machine work"
    if error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", None)):
        return f"no DNS server knows {host}: correct the name, or add it there"
    return f"{host} can not be looked up: {_said(error)}"


async def _connect_any(places: _Places) -> socket.socket:
    """Connect to one place, tried one after another with a head start. Raises OSError."""
    if len(places) == 1:
        return await _connect(*places[0])
    attempts: list[asyncio.Task[socket.socket]] = []
    pending: set[asyncio.Task[socket.socket]] = set()
    winner: asyncio.Task[socket.socket] | None = None
    left = iter(places)
    try:
        while True:
            place = next(left, None)
            if place is not None:
                attempts.append(asyncio.create_task(_connect(*place)))
                pending.add(attempts[-1])
            elif not pending:
                raise _most_telling([attempt.exception() for attempt in attempts])
            wait = _HEAD_START if place is not None else None
            done, pending = await asyncio.wait(
                pending, timeout=wait, return_when=asyncio.FIRST_COMPLETED
            )
            winner = next((attempt for attempt in done if attempt.exception() is None), None)
            if winner is not None:
                return winner.result()
    finally:
        for attempt in attempts:
            if attempt is not winner:
                attempt.add_done_callback(_drop)
                attempt.cancel()


def _drop(attempt: "asyncio.Task[socket.socket]") -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()


def _most_telling(errors: Sequence[BaseException | None]) -> OSError:
    raised = [error for error in errors if isinstance(error, OSError)]
    return next((error for error in raised if error.errno not in _NO_ROUTE), raised[-1])


async def _connect(family: socket.AddressFamily, place: _Place) -> socket.socket:
    connected = socket.socket(family, socket.SOCK_STREAM)
    try:
        connected.settimeout(0)
        await asyncio.get_running_loop().sock_connect(connected, place)
        try:
            other_end = connected.getpeername()
        except OSError:
            # asyncio takes a full queue of a Unix socket for success
            raise BlockingIOError(errno.EAGAIN, "the queue is full") from None
        if family != socket.AF_UNIX and connected.getsockname() == other_end:
            # a port that nobody listens on can be given to ourselves, who then connect to it
            raise ConnectionRefusedError(errno.ECONNREFUSED, "connected to itself")
    except BaseException:
        connected.close()
        raise
    return connected


async def _speak(
    check: Check, address: Address, connected: socket.socket, tls: Tls | None
) -> Connection:
    if tls is None:
        return Connection(*await asyncio.open_connection(sock=connected))
    context = tls.settings.ssl_context()
    name = tls.settings.tls_server_name or address.host.partition("%")[0].rstrip(".")
    check.doing = f"shaking hands in TLS with {address.shown}"
    try:
        return Connection(
            *await asyncio.open_connection(
                sock=connected,
                ssl=context,
                server_hostname=name,
                ssl_handshake_timeout=_NEVER,
            )
        )
    except OSError as error:
        said = tls.settings.explain_tls(
            error, address.shown, name=address.host, turn_off=tls.turn_off
        )
        raise CheckFailedError(said) from error

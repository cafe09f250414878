"""Establishes a gRPC connection, and tells apart everything that can be in its way."""

import socket
from typing import TYPE_CHECKING, Final

from h2.events import RemoteSettingsChanged
from h2.exceptions import H2Error

from petsage_grpc.rpc.client.address import Address, Place, look_up
from petsage_grpc.rpc.client.errors import ConnectError
from petsage_grpc.rpc.client.tls import ADD_TLS, NO_HTTP2, Tls, explain, speaks_tls
from petsage_grpc.rpc.client.transport import GOAWAY, SETTINGS, Deadline, Transport, fault, words

if TYPE_CHECKING:
    import ssl

__all__ = ["dial"]

_TLS_RECORDS: Final = (0x15, 0x16)  # an alert, a handshake
_TYPE_AT: Final = 3  # where a frame has its type


def dial(address: Address, timeout: float, tls: Tls | None) -> Transport:
    """Connect within `timeout` seconds: it counts once the server's SETTINGS are there.

    Raises ConnectError, and TlsOptionError before anything is sent.
    """
    # before the clock starts, because the system's certificates take a while to load
    context = tls.context() if tls else None
    deadline = Deadline(timeout)
    places = _places(address, deadline)
    failures: dict[str, str] = {}
    timed_out = False
    for tried, (family, place) in enumerate(places):
        try:
            # one place that swallows packets must not use up the time of the next
            share = Deadline(deadline.left() / (len(places) - tried))
            return _Attempt(address, family, place, share).run(tls, context)
        except ConnectError as error:
            failures.setdefault(error.reason, str(place[0]))
            timed_out |= error.timed_out
        except OSError as error:  # no time left, or no such family on this machine
            failures.setdefault(words(error), str(place[0]))
            timed_out |= isinstance(error, TimeoutError)
    reasons = [*failures]
    if len(failures) > 1:
        reasons = [f"{reason} ({place})" for reason, place in failures.items()]
    raise ConnectError(address.text, "; ".join(reasons), timed_out=timed_out)


def _places(address: Address, deadline: Deadline) -> list[tuple[int, Place]]:
    try:
        return look_up(address, deadline.left())
    except TimeoutError:
        reason = f'the look-up of host "{address.host}" got no answer'
        raise ConnectError(address.text, reason, timed_out=True) from None
    except OSError as error:
        reason = f'unknown host "{address.host}"'
        if error.errno == socket.EAI_AGAIN:
            reason += " (no name server answers)"
        raise ConnectError(address.text, reason) from None


class _Attempt:
    """One try at one place; each step raises ConnectError in words of its own."""

    def __init__(self, address: Address, family: int, place: Place, deadline: Deadline) -> None:
        self._address = address
        self._host = address.host.partition("%")[0]  # certificates know no zones
        self._place = place
        self._deadline = deadline
        self._sock = socket.socket(family, socket.SOCK_STREAM)

    def run(self, tls: Tls | None, context: "ssl.SSLContext | None") -> Transport:
        try:
            self._reach()
            if tls and context:
                self._secure(tls, context)
            return self._greet(tls)
        except BaseException:
            self._sock.close()
            raise

    def _error(self, reason: str, *, timed_out: bool = False) -> ConnectError:
        return ConnectError(self._address.text, reason, timed_out=timed_out)

    def _reach(self) -> None:
        try:
            self._sock.settimeout(self._deadline.left())
            self._sock.connect(self._place)
            if not self._address.path:
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except TimeoutError:
            raise self._error("the host does not answer", timed_out=True) from None
        except OSError as error:
            raise self._error(words(error)) from None

    def _secure(self, tls: Tls, context: "ssl.SSLContext") -> None:
        name = tls.wire_name or self._host
        try:
            secure = context.wrap_socket(
                self._sock, server_hostname=name, do_handshake_on_connect=False
            )
            self._sock = secure
            secure.settimeout(self._deadline.left())
            secure.do_handshake()
        except TimeoutError:
            reason = "the server accepted the connection but never answered in TLS"
            raise self._error(reason, timed_out=True) from None
        except OSError as error:
            raise self._error(explain(error, tls, name)) from None
        except ValueError as error:
            raise self._error(f'"{name}" can be the name of no server: {error}') from None
        if secure.selected_alpn_protocol() != "h2":
            # every gRPC client insists on it, so that no use is had from a server without it
            raise self._error(NO_HTTP2)

    def _greet(self, tls: Tls | None) -> Transport:
        transport = Transport(self._sock)
        try:
            transport.flush(self._deadline)
            while True:
                transport.read(self._deadline)
                if stranger := _stranger(transport.unread):
                    raise self._error(stranger)
                if any(isinstance(event, RemoteSettingsChanged) for event in transport.events()):
                    return transport
        except TimeoutError:
            reason = "the server accepted the connection but never answered"
            raise self._error(reason, timed_out=True) from None
        except H2Error as error:
            raise self._error(f"not gRPC: broken HTTP/2 ({fault(error)})") from None
        except OSError as error:
            if transport.goodbye:
                reason = transport.goodbye.words
            elif tls:
                reason = explain(error, tls, self._host)
            elif self._hides_tls():
                reason = ADD_TLS
            else:
                reason = "the server closed the connection at once"
            raise self._error(reason) from None

    def _hides_tls(self) -> bool:
        """Ask again by TLS: most servers that want it close plaintext without a word."""
        family = self._sock.family
        self._sock.close()  # or a server that takes one at a time would not look at the next
        try:
            with socket.socket(family, socket.SOCK_STREAM) as second:
                second.settimeout(self._deadline.left())
                second.connect(self._place)
                second.settimeout(self._deadline.left())
                return speaks_tls(second)
        except OSError:
            return False


def _stranger(head: bytearray) -> str | None:
    """Say who answers when these first bytes are no SETTINGS frame; one byte is enough to know."""
    if head[0] in _TLS_RECORDS:
        return ADD_TLS
    start = bytes(head[:24])
    if start.startswith((b"HTTP/", b"<")) or b"HTTP/".startswith(start):
        return "the server speaks HTTP/1.1, not gRPC"
    # its length has three bytes, and the first of them is zero in any frame that is allowed
    if head[0] or (len(head) > _TYPE_AT and head[_TYPE_AT] not in (SETTINGS, GOAWAY)):
        shown = start.decode("ascii", "backslashreplace")
        return f'the server does not speak gRPC; it answered "{shown}"'
    return None

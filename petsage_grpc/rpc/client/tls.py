"""The client's side of TLS: its files, and what each of its failures means."""

import socket
from typing import TYPE_CHECKING, Final, NamedTuple

from petsage_grpc.rpc.client.errors import TlsOptionError

if TYPE_CHECKING:
    import ssl

__all__ = ["ADD_TLS", "NO_HTTP2", "Tls", "explain", "speaks_tls"]

ADD_TLS: Final = "the server speaks TLS; add -tls"
NO_HTTP2: Final = 'not gRPC: the server does not agree on HTTP/2 (ALPN "h2") in TLS'
_LEAVE_OUT_TLS: Final = "the server does not speak TLS; leave out -tls"
_CLIENT_CERT: Final = "-tls-client-cert and -tls-client-key"

# OpenSSL's verify codes
_NOT_TRUSTED: Final = (2, 18, 19, 20, 21)
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_OTHER_NAME: Final = (62, 64)

# what OpenSSL calls an answer that is no TLS record; the name changed between its releases
_NO_TLS: Final = (
    "WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST",
    "UNKNOWN_PROTOCOL", "BAD_RECORD_TYPE", "UNEXPECTED_MESSAGE",
)  # fmt: skip

_OF_CLIENT_CERT: Final = ("unknown ca", "access denied", "decrypt error")  # alerts


class Tls(NamedTuple):
    """How to speak TLS: whom to trust and who we are. Files are PEM; empty means not given."""

    ca_cert: str = ""
    """Certificates to trust instead of the system's."""
    client_cert: str = ""
    client_key: str = ""
    server_name: str = ""
    """The name that the certificate must carry, if not the host of the address."""
    no_verify: bool = False

    @property
    def wire_name(self) -> str:
        """`server_name` in ASCII, as it is sent. Raises TlsOptionError when none can have it."""
        try:
            name = self.server_name.encode("idna").decode()
        except UnicodeError:
            name = "."
        if name.startswith(".") or not name.isprintable() or " " in name:
            raise TlsOptionError("tls-server-name", self.server_name, "no server has such a name")
        return name

    def context(self) -> "ssl.SSLContext":
        """Load the files. Raises TlsOptionError when something given can not be used."""
        import ssl  # noqa: PLC0415 -- only who asks for TLS pays for it

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.set_alpn_protocols(["h2"])
        # as in Go, a server's own certificate can be what is trusted
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if self.no_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.ca_cert:
            _must_hold("tls-ca-cert", self.ca_cert, b"CERTIFICATE-----")
            try:
                context.load_verify_locations(self.ca_cert)
            except OSError:
                raise TlsOptionError("tls-ca-cert", self.ca_cert, "a broken certificate") from None
        else:
            context.load_default_certs()
        if self.client_cert:
            _must_hold("tls-client-cert", self.client_cert, b"CERTIFICATE-----")
            _must_hold("tls-client-key", self.client_key, b"PRIVATE KEY-----")
            try:
                # an empty password, or OpenSSL would ask for one at the terminal
                context.load_cert_chain(self.client_cert, self.client_key, password="")
            except OSError as error:
                raise _pair_error(self, error) from None
        return context


def _must_hold(option: str, file: str, mark: bytes) -> None:
    """Raise TlsOptionError unless `file` can be read and holds `mark`."""
    from pathlib import Path  # noqa: PLC0415 -- only who gives files pays for it

    try:
        content = Path(file).read_bytes()
    except OSError as error:
        raise TlsOptionError(option, file, _lower(error.strerror or str(error))) from None
    if mark not in content:
        what = mark.strip(b"-").decode().lower()
        raise TlsOptionError(option, file, f"no {what} in PEM form in it")


def _pair_error(tls: Tls, error: OSError) -> TlsOptionError:
    if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
        reason = "the key does not belong to the certificate of -tls-client-cert"
    else:
        reason = f"it or the certificate is broken, or it has a password ({error})"
    return TlsOptionError("tls-client-key", tls.client_key, reason)


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def explain(error: OSError, tls: Tls, name: str) -> str:
    """Say in one line why TLS with the server `name` failed, and the mend where one is known."""
    import ssl  # noqa: PLC0415 -- imported already, when this is called

    reason: str = getattr(error, "reason", None) or ""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _distrust(error.verify_code, error.verify_message, name)
    if reason in _NO_TLS:
        return _LEAVE_OUT_TLS
    if "ALERT_" in reason:
        return _refusal(reason.partition("ALERT_")[2].lower().replace("_", " "), tls)
    if isinstance(error, (ssl.SSLEOFError, ConnectionError)):
        # gRPC's own servers close instead of sending an alert, whatever displeases them
        said = "the server closed the connection in TLS"
        if tls.client_cert:
            return f"{said}; it may not trust the client certificate, or that expired"
        return f"{said}; if it demands a client certificate, add {_CLIENT_CERT}"
    return f"TLS failed ({reason or error})"


def _refusal(alert: str, tls: Tls) -> str:
    if alert == "no application protocol":
        return NO_HTTP2
    of_certificate = "certificate" in alert or alert in _OF_CLIENT_CERT
    if tls.client_cert:
        what = "the client certificate" if of_certificate else "TLS"
        return f"the server refuses {what} ({alert})"
    if of_certificate:
        return f"the server demands a client certificate; add {_CLIENT_CERT}"
    return (
        f"the server refuses TLS ({alert}); if it demands a client certificate, add {_CLIENT_CERT}"
    )


def _distrust(code: int, message: str, name: str) -> str:
    if code == _EXPIRED:
        return "the server's certificate has expired; renew it"
    if code == _NOT_YET_VALID:
        return "the server's certificate is not valid yet; compare the clocks"
    if code in _OTHER_NAME:
        return (
            f'the server\'s certificate is not for "{name}";'
            " name one that it is for with -tls-server-name"
        )
    if code in _NOT_TRUSTED:
        return (
            f"the server's certificate is not trusted ({message});"
            " name its authority's file with -tls-ca-cert"
        )
    return f"the server's certificate is not valid ({message})"


def speaks_tls(connection: socket.socket) -> bool:
    """Try a handshake within the socket's timeout, to tell TLS from a server that just closes."""
    import ssl  # noqa: PLC0415 -- only who meets such a server pays for it

    try:
        Tls(no_verify=True).context().wrap_socket(connection).close()
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except OSError:
        return False
    return True

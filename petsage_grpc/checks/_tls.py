"""The TLS of a check: its settings, which every kind shares, and what each failure of it means."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from petsage_grpc.core.check import CheckFailedError

__all__ = ["TlsSettings", "tls_error"]

# OpenSSL's verify codes
_NOT_TRUSTED: Final = (2, 18, 19, 20, 21)
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_OTHER_NAME: Final = (62, 64)

# What OpenSSL calls an answer that is no TLS record; the name changed between its releases.
_NO_TLS: Final = (
    "WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST",
    "UNKNOWN_PROTOCOL", "BAD_RECORD_TYPE", "UNEXPECTED_MESSAGE",
)  # fmt: skip

_TOO_OLD: Final = ("UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW")

_OF_CLIENT_CERT: Final = ("unknown ca", "access denied", "decrypt error")  # alerts
_SET_CLIENT_CERT: Final = "set tls_client_cert and tls_client_key"

_FILES: Final = ("tls_ca_cert", "tls_client_cert", "tls_client_key")


@dataclass(kw_only=True)
class TlsSettings:
    """What a kind that can speak TLS inherits, before Check, to have the settings of it.

    Its `__post_init__` calls `load_tls`; a run asks for `ssl_context` and `explain_tls`.
    """

    tls_ca_cert: str = field(
        default="",
        metadata={"help": "PEM file with certificates to trust instead of the system's"},
    )
    tls_client_cert: str = field(
        default="", metadata={"help": "PEM file with a certificate that the server may demand"}
    )
    tls_client_key: str = field(
        default="", metadata={"help": "PEM file with the key of tls_client_cert, without password"}
    )
    tls_server_name: str = field(
        default="",
        metadata={"help": "name that the server's certificate must be for, if not the host"},
    )
    tls_no_verify: bool = field(
        default=False, metadata={"help": "trust any certificate: the server may be anybody"}
    )

    _context: ssl.SSLContext | None = field(init=False, repr=False, compare=False, default=None)
    _seen: list[tuple[int, ...]] = field(
        init=False, repr=False, compare=False, default_factory=list
    )

    def load_tls(self, *, used: bool, turn_on: str) -> None:
        """Refuse settings that can never work, and load the files.

        Args:
            used: whether the check is to speak TLS.
            turn_on: how to have it speak TLS: ``"set tls = true"``.

        Raises ValueError that begins with the setting.
        """
        if not used:
            for name in (*_FILES, "tls_server_name", "tls_no_verify"):
                if getattr(self, name):
                    raise ValueError(f"{name}: means nothing without TLS: {turn_on}")
            return
        if self.tls_no_verify and self.tls_ca_cert:
            raise ValueError("tls_no_verify: contradicts tls_ca_cert: leave one of them out")
        if bool(self.tls_client_cert) != bool(self.tls_client_key):
            given, missing = "tls_client_cert", "tls_client_key"
            if self.tls_client_key:
                given, missing = missing, given
            raise ValueError(f"{given}: needs {missing} too: set both")
        if self.tls_server_name and not _is_name(self.tls_server_name):
            raise ValueError(
                f"tls_server_name: no server is called {self.tls_server_name!r}:"
                ' write it like "db.example.com"'
            )
        self._load()

    def ssl_context(self) -> ssl.SSLContext:
        """Return what to speak TLS with; a certificate that was renewed on disk is loaded anew.

        Raises CheckFailedError when a file can no longer be used.
        """
        try:
            if self._context is None or self._stamps() != self._seen:
                self._load()
        except ValueError as error:
            raise CheckFailedError(str(error)) from None
        assert self._context is not None
        return self._context

    def explain_tls(self, error: OSError, server: str, *, name: str, turn_off: str) -> str:
        """Say in one line why TLS failed, with the mend.

        Args:
            error: what was raised: an SSLError, or that the connection broke in the handshake.
            server: how the server is named: ``"db:5432"``.
            name: the name that its certificate had to be for, if `tls_server_name` is not set.
            turn_off: how to do without TLS: ``"set tls = false"``.
        """
        reason: str = getattr(error, "reason", None) or ""
        if isinstance(error, ssl.SSLCertVerificationError):
            return _distrust(error, server, self.tls_server_name or name)
        if reason in _NO_TLS:
            return f"{server} does not speak TLS: {turn_off}"
        if reason in _TOO_OLD:
            return f"{server} speaks no TLS that is safe: let it speak TLS 1.2 or newer"
        if "ALERT_" in reason:
            alert = reason.partition("ALERT_")[2].lower().replace("_", " ")
            return f"{server} {self._refusal(alert)}"
        if not isinstance(error, (ssl.SSLEOFError, ConnectionError)):
            return f"TLS with {server} failed: {reason or error}"
        # Many close instead of sending an alert, whatever displeases them.
        if self.tls_client_cert:
            mend = f"let it trust tls_client_cert, or {turn_off} if it speaks no TLS"
        else:
            mend = f"{turn_off} if it speaks no TLS, or {_SET_CLIENT_CERT} if it demands them"
        return f"{server} closed the connection in the TLS handshake: {mend}"

    def _refusal(self, alert: str) -> str:
        of_certificate = "certificate" in alert or alert in _OF_CLIENT_CERT
        if of_certificate and self.tls_client_cert:
            return f"refuses the client certificate ({alert}): set tls_client_cert to one it trusts"
        if of_certificate:
            return f"demands a client certificate: {_SET_CLIENT_CERT}"
        if alert == "protocol version":
            return "speaks no TLS that is safe: let it speak TLS 1.2 or newer"
        if alert == "unrecognized name":
            return "has no certificate for this name: set tls_server_name to a name of it"
        mend = (
            "look into its log"
            if self.tls_client_cert
            else f"{_SET_CLIENT_CERT} if it demands them"
        )
        return f"refuses TLS ({alert}): {mend}"

    def _load(self) -> None:
        seen = self._stamps()  # before it is read, so that no later change is missed
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # A server's own certificate can be what is trusted.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if self.tls_no_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.tls_ca_cert:
            _must_hold("tls_ca_cert", self.tls_ca_cert, b"CERTIFICATE-----")
            try:
                context.load_verify_locations(self.tls_ca_cert)
            except OSError:
                raise _unusable("tls_ca_cert", self.tls_ca_cert, "is broken") from None
        else:
            context.load_default_certs()
        if self.tls_client_cert:
            self._load_client_cert(context)
        self._context, self._seen = context, seen

    def _load_client_cert(self, context: ssl.SSLContext) -> None:
        certificate, key = self.tls_client_cert, self.tls_client_key
        _must_hold("tls_client_cert", certificate, b"CERTIFICATE-----")
        _must_hold("tls_client_key", key, b"PRIVATE KEY-----")
        try:
            # An empty password, or OpenSSL would ask for one at the terminal.
            context.load_cert_chain(certificate, key, password="")
        except OSError as error:
            if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
                raise ValueError(
                    f"tls_client_key: {key!r} does not belong to the certificate: name its key"
                ) from None
            why = "or the certificate is broken, or has a password"
            raise _unusable("tls_client_key", key, why) from None

    def _stamps(self) -> list[tuple[int, ...]]:
        """Tell each file from what it was before; Kubernetes renews them by a symbolic link."""
        stamps: list[tuple[int, ...]] = []
        for name in _FILES:
            if file := getattr(self, name):
                try:
                    now = Path(file).stat()
                except (OSError, ValueError) as error:
                    raise _unreadable(name, file, error) from None
                stamps.append((now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns))
        return stamps


def tls_error(error: BaseException) -> ssl.SSLError | None:
    """Find the failure of TLS in what a driver has made of it."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, ssl.SSLError):
        seen = seen.__cause__ or seen.__context__
    return seen


def _is_name(name: str) -> bool:
    try:
        wire = name.encode("idna").decode()
    except UnicodeError:
        return False
    return wire.isprintable() and " " not in wire and not wire.startswith(".")


def _must_hold(setting: str, file: str, mark: bytes) -> None:
    """Raise ValueError unless `file` can be read and holds `mark`."""
    try:
        # A pipe or a device would be read for ever.
        content = Path(file).read_bytes() if Path(file).is_file() else b""
    except OSError as error:
        raise _unreadable(setting, file, error) from None
    if mark not in content:
        what = mark.strip(b"-").decode().lower()
        raise _unusable(setting, file, f"holds no {what}")


def _unreadable(setting: str, file: str, error: OSError | ValueError) -> ValueError:
    why = error.strerror if isinstance(error, OSError) else error
    return ValueError(
        f"{setting}: {file!r} can not be read: {why}: name a file that this user can read"
    )


def _unusable(setting: str, file: str, why: str) -> ValueError:
    return ValueError(f"{setting}: {file!r} {why}: name a file in PEM form")


def _distrust(error: ssl.SSLCertVerificationError, server: str, name: str) -> str:
    code, message = error.verify_code, error.verify_message
    if code == _EXPIRED:
        return f"the certificate of {server} has expired: renew it"
    if code == _NOT_YET_VALID:
        return f"the certificate of {server} is not valid yet: compare the clocks"
    if code in _OTHER_NAME:
        return (
            f'the certificate of {server} is not for "{name}": set tls_server_name to a name that'
            " it is for"
        )
    if code in _NOT_TRUSTED:
        return (
            f"the certificate of {server} is not trusted ({message}): name its authority's file"
            " with tls_ca_cert"
        )
    return f"the certificate of {server} is not valid ({message}): renew it"

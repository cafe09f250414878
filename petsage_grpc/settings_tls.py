"""Reads the files of the server's TLS, and says in one line which can not be used, and why."""

import codecs
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from petsage_grpc.core.text import printable
from petsage_grpc.settings_parts import BadSettingError

if TYPE_CHECKING:
    import ssl

__all__ = [
    "MAX_TLS_FILE", "Certificate", "TlsFiles", "load_tls", "read_tls", "refuse_tls_halves",
    "show_time", "tls_risks",
]  # fmt: skip

MAX_TLS_FILE: Final = 1024 * 1024
"""Bytes in a file; all the authorities of a system are a quarter of it."""

_TRIES: Final = 5
"""How often files that change while they are read are read again."""

_SOON: Final = 0.1
"""The part of a certificate's life in which it is about to expire; who renews it begins before."""

_NO_CHECK_TIME: Final = 0x200000
"""OpenSSL's flag to look at a certificate whatever the time is; ssl has no name for it."""
_OTHER_PURPOSE: Final = 26
"""OpenSSL's verify code of a certificate that is not for servers."""

_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"
_OTHER_FORM: Final = b"BEGIN TRUSTED CERTIFICATE"
"""Of a certificate that OpenSSL reads, and gRPC does not."""

_OTHER_KEY: Final = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")
"""What OpenSSL says to a key of another certificate."""

_KEYS_OF_GRPC: Final = tuple(
    bytes.fromhex(identifier)
    for identifier in (
        "06092a864886f70d010101",  # RSA
        "06082a8648ce3d030107",  # P-256
        "06052b81040022",  # P-384
        "06052b81040023",  # P-521
        "06032b6570",  # Ed25519
    )
)
"""How the kinds of keys that a server of grpc can use are named in a certificate."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What the files hold."""

    cert: bytes
    key: bytes = field(repr=False)
    client_ca: bytes


@dataclass(frozen=True, slots=True)
class Certificate:
    """What can be said of a certificate. Times are seconds since the epoch."""

    names: tuple[str, ...]
    """The hosts that it is for: names and addresses."""
    begins: int
    ends: int
    authorities_end: int
    """When the last of the clients' authorities expires; 0 if there is none, or it is not known."""

    def holds(self, now: float) -> bool:
        """Say whether clients accept it at this time."""
        return self.begins <= now < self.ends

    def risks(self, now: float) -> Iterator[str]:
        """Say what keeps clients out at this time, or soon will; one line for each setting."""
        ends = show_time(self.ends)
        if now >= self.ends:
            yield f"tls_cert has expired {ends}, and clients refuse it: renew it"
        elif now < self.begins:
            yield f"tls_cert is not valid before {show_time(self.begins)}: compare the clocks"
        elif self.ends - now < _SOON * (self.ends - self.begins):
            yield f"tls_cert expires {ends}: renew it"
        if 0 < self.authorities_end <= now:
            yield (
                f"tls_client_ca has expired {show_time(self.authorities_end)}, and no client is let"
                " in: renew it"
            )


def show_time(seconds: float) -> str:
    """Write a time so that it can be compared with what other tools say of a certificate."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def tls_risks(cert: str, key: str, client_ca: str) -> list[str]:
    """Say what keeps clients out now, or soon will, if there is to be TLS.

    Raises BadSettingError.
    """
    return [*load_tls(cert, key, client_ca)[1].risks(time.time())] if cert else []


def refuse_tls_halves(cert: str, key: str, client_ca: str) -> None:
    """Raise BadSettingError when one of the settings is given without another that it needs."""
    if cert and not key:
        raise BadSettingError("needs tls_key too: set both", "tls_cert")
    if key and not cert:
        raise BadSettingError("needs tls_cert too: set both", "tls_key")
    if client_ca and not cert:
        raise BadSettingError(
            "means nothing without TLS: set tls_cert and tls_key", "tls_client_ca"
        )


def read_tls(cert: str, key: str, client_ca: str) -> TlsFiles:
    """Read the files, without a look at what they hold. Raises BadSettingError."""
    return TlsFiles(
        _read("tls_cert", cert),
        _read("tls_key", key),
        _read("tls_client_ca", client_ca) if client_ca else b"",
    )


def load_tls(cert: str, key: str, client_ca: str) -> tuple[TlsFiles, Certificate]:
    """Read the files and make sure that a server can use them, each and together.

    An expired certificate can be used: it may be the clock that is wrong.

    Raises BadSettingError.
    """
    for _ in range(_TRIES):
        files = read_tls(cert, key, client_ca)
        error, made = None, None
        try:
            made = _examine(files, cert, key, client_ca)
        except BadSettingError as caught:
            error = caught
        if read_tls(cert, key, client_ca) != files:  # OpenSSL may have seen others than we
            continue
        if made is None:
            assert error is not None
            raise error
        return files, made
    raise BadSettingError(f"{cert!r} changes all the time: write it once", "tls_cert")


def _read(setting: str, file: str) -> bytes:
    content = bytearray()
    try:
        # A pipe would hold up who opens it.
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
            while regular and len(content) <= MAX_TLS_FILE:
                if not (piece := os.read(descriptor, MAX_TLS_FILE)):
                    break
                content += piece
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise BadSettingError(
            f"{file!r} can not be read: {why}: name a file that this user can read", setting
        ) from None
    if not regular:
        raise _unusable(setting, file, "is no file")
    if len(content) > MAX_TLS_FILE:
        raise _unusable(setting, file, f"is longer than {MAX_TLS_FILE} bytes")
    return bytes(content).removeprefix(codecs.BOM_UTF8)  # gRPC would not see what begins there


def _examine(files: TlsFiles, cert: str, key: str, client_ca: str) -> Certificate:
    import ssl  # noqa: PLC0415 -- only who wants TLS pays for it

    _must_hold("tls_cert", cert, files.cert, _CERTIFICATE)
    _must_hold("tls_key", key, files.key, b"PRIVATE KEY-----")
    if b"ENCRYPTED" in files.key:
        raise BadSettingError(
            f"{key!r} has a password, which nobody could enter:"
            f" write it without one, as openssl pkey -in {key} does",
            "tls_key",
        )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # A password, or OpenSSL would ask for one at the terminal.
        server.load_cert_chain(cert, key, password="")
    except OSError as error:
        raise _refused_pair(getattr(error, "reason", None) or "", files, cert, key) from None
    if client_ca:
        _must_hold("tls_client_ca", client_ca, files.client_ca, _CERTIFICATE)
        try:
            server.load_verify_locations(client_ca)
            server.get_ca_certs()
        except UnicodeDecodeError:
            raise _unreadable_name("tls_client_ca", client_ca) from None
        except OSError:
            raise _unusable("tls_client_ca", client_ca, "is broken") from None
    try:
        return _describe(server, cert)
    except ssl.SSLCertVerificationError as error:
        why = f"is refused by clients ({error.verify_message}): have it issued anew"
        if error.verify_code == _OTHER_PURPOSE:
            why = "is not for servers: have it issued with the extended key usage serverAuth"
        raise BadSettingError(f"{cert!r} {why}", "tls_cert") from None
    except UnicodeDecodeError:
        raise _unreadable_name("tls_cert", cert) from None
    except OSError as error:
        why = getattr(error, "reason", None) or str(error)
        raise _unusable("tls_cert", cert, f"does not work ({why})") from None


def _unreadable_name(option: str, path: str) -> BadSettingError:
    return BadSettingError(f"{path!r} has a name that is not UTF-8: have it issued anew", option)


def _refused_pair(reason: str, files: TlsFiles, cert: str, key: str) -> BadSettingError:
    if reason in _OTHER_KEY:
        mend = "name the key that the first certificate in tls_cert was made for"
        return BadSettingError(f"{key!r} does not belong to {cert!r}: {mend}", "tls_key")
    if reason.endswith(("_TOO_SMALL", "_TOO_WEAK")):
        mend = "have it issued for RSA with 2048 bits, or for P-256"
        return BadSettingError(f"{cert!r} is not safe ({reason}): {mend}", "tls_cert")
    if _is_certificate(files.cert):
        return _unusable("tls_key", key, "is broken")
    return _unusable("tls_cert", cert, "is broken")


def _is_certificate(content: bytes) -> bool:
    """Say whether OpenSSL can read the certificates."""
    import ssl  # noqa: PLC0415 -- imported already, when this is called

    end, begin = b"-----END CERTIFICATE-----", _CERTIFICATE
    *pieces, rest = content.split(end)
    if not pieces or begin in rest:  # only half of it is there
        return False
    try:
        for piece in pieces:
            pem = begin + piece.partition(begin)[2] + end
            der = ssl.PEM_cert_to_DER_cert(pem.decode("ascii"))
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=der)
    except (OSError, ValueError):
        return False
    return True


def _describe(server: "ssl.SSLContext", cert: str) -> Certificate:
    """Have a client in memory meet the server, and say what it was shown.

    Raises OSError when they do not come together.
    """
    import ssl  # noqa: PLC0415 -- imported already, when this is called

    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    client.load_verify_locations(cert)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = client.wrap_bio(to_client, to_server)
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (theirs, ours) * 2:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    authorities = server.get_ca_certs()
    shown, raw = theirs.getpeercert(), theirs.getpeercert(binary_form=True)
    assert shown is not None
    assert raw is not None
    if not any(name in raw for name in _KEYS_OF_GRPC):
        raise OSError("a key of a kind that gRPC does not know; take RSA or P-256")
    return Certificate(
        tuple(
            printable(_host(kind, str(name))) for kind, name in _pairs(shown.get("subjectAltName"))
        ),
        int(ssl.cert_time_to_seconds(str(shown["notBefore"]))),
        int(ssl.cert_time_to_seconds(str(shown["notAfter"]))),
        max((ssl.cert_time_to_seconds(str(ca["notAfter"])) for ca in authorities), default=0),
    )


def _pairs(names: object) -> "list[tuple[str, str]]":
    wanted = ("DNS", "IP Address")
    return [pair for pair in names if pair[0] in wanted] if isinstance(names, tuple) else []


def _host(kind: str, name: str) -> str:
    import ipaddress  # noqa: PLC0415 -- only who wants TLS pays for it

    try:
        return name if kind == "DNS" else str(ipaddress.ip_address(name.strip()))
    except ValueError:
        return name


def _must_hold(setting: str, file: str, content: bytes, mark: bytes) -> None:
    if _OTHER_FORM in content:
        mend = f"write it as others do, with openssl x509 -in {file}"
        raise BadSettingError(f"{file!r} is in a form that OpenSSL alone knows: {mend}", setting)
    if mark not in content:
        what = mark.strip(b"-").removeprefix(b"BEGIN ").decode().lower()
        raise _unusable(setting, file, f"holds no {what}")


def _unusable(setting: str, file: str, why: str) -> BadSettingError:
    return BadSettingError(f"{file!r} {why}: name a file in PEM form", setting)

"""Puts what grpc and downstreams say of a call that failed into a line with the mend."""

import re
import ssl
from typing import Final

from petsage_grpc.core.text import printable

__all__ = ["describe_answer", "describe_failure", "find_tls_error"]

_LONGEST: Final = 200
"""Characters of what somebody else says that are shown."""

_CONNECTING: Final = "failed to connect to all addresses"
"""How grpc begins to say that there is no connection; the last reason of several follows."""
_LAST: Final = re.compile(r"last error: [A-Z_]+: (?:(?:ipv[46]|unix\S*?):\S+: )?(.*)", re.DOTALL)

_GONE: Final = re.compile("Socket closed|Connection reset|Broken pipe|GOAWAY|TSI_DATA_CORRUPTED")
_FAILED: Final = re.compile(r"CERTIFICATE_VERIFY_FAILED(?:: ([^:]+))?")
_OPENSSL: Final = re.compile(r"OPENSSL_internal:([A-Z0-9_]+)")
_VERIFY_CODES: Final = {"certificate has expired": 10, "certificate is not yet valid": 9}
"""OpenSSL's codes for what grpc says of a certificate; all else is that it is not trusted."""
_NOT_TRUSTED: Final = 20
_OTHER_NAME: Final = 62

_NO_CONNECTION: Final = (
    ("Connection refused", "{0} refuses connections: start the server, or mend the address"),
    ("No such file or directory", "{0} does not exist: start the server, or mend the address"),
    ("Permission denied", "{0} may not be used by this user: change its mode or its owner"),
    ("http1.x server", "{0} speaks HTTP/1, not gRPC: name the port of a gRPC server"),
    ("Failed parsing HTTP/2", "{0} does not speak gRPC: name the port of a gRPC server"),
    ("missing selected ALPN", "{0} speaks TLS without HTTP/2: name the port of a gRPC server"),
    (
        "No route to host|unreachable",
        "{0} is in a network that can not be reached: mend the address, or the network",
    ),
    (
        "tcp handshaker shutdown|[Tt]imed out|[Tt]imeout|[Dd]eadline",
        "{0} takes no connection in time: look for a firewall between, or whether it is stuck",
    ),
    (
        _GONE.pattern,
        "{0} closed the connection before it said anything: set tls = true if it speaks TLS",
    ),
)
"""What grpc says where no connection comes about, and what that means; the first one counts."""

_UNRESOLVED: Final = re.compile("errors resolving|DNS resolution failed|lookup failed")
_LOOKED_UP: Final = re.compile(r": ([^:\]]+)\]*$")
_HTTP_STATUS: Final = re.compile(r"http2 header with (?:HTTP )?status: (\d+)")

_REFUSED: Final = (
    "{0} refuses to tell its health ({code}{said}): put what it wants to see into headers"
)
_ANSWERS: Final = {
    "UNIMPLEMENTED": (
        "{0} has no health service (grpc.health.v1.Health): add one to it, or use the kind tcp"
    ),
    "UNAUTHENTICATED": _REFUSED,
    "PERMISSION_DENIED": _REFUSED,
}


def describe_answer(where: str, service: str, status: str) -> str:
    """Say what it means that the health service answers with this status, which is not SERVING."""
    if status != "SERVICE_UNKNOWN":
        what = f'"{printable(service)}"' if service else "it"
        return f"{where} says that {what} is {status}: look there for the cause"
    if not service:
        return f'{where} knows no health of the whole (""): set service to a name that it knows'
    return (
        f'{where} does not know the service "{printable(service)}": mend the name, or let it be'
        " registered there"
    )


def describe_failure(where: str, code: str, details: str) -> str:
    """Say why a call to a server failed.

    Args:
        where: the server.
        code: the name of the gRPC status, whoever made it.
        details: what was said with it.
    """
    if code == "UNAVAILABLE" and details.startswith(_CONNECTING):
        match = _LAST.search(details)
        return _describe_no_connection(where, match[1] if match else details)
    if code == "UNAVAILABLE" and _UNRESOLVED.search(details):
        match = _LOOKED_UP.search(details)
        said = _shorten(match[1] if match else details)
        return f"{where} can not be found ({said}): mend the address, or the name server"
    if found := _HTTP_STATUS.search(details):
        return f"{where} answers with HTTP status {found[1]}, not gRPC: name a gRPC server's port"
    if code == "UNKNOWN" and details == "No status received":
        return f"{where} answers without a gRPC status: name the port of a gRPC server"
    if code == "UNAVAILABLE" and _GONE.search(details):
        return f"{where} closed the connection while it was asked: look there for the cause"
    said = f": {_shorten(details)}" if details else ""
    return _ANSWERS.get(code, "{0} answers with {code}{said}").format(where, code=code, said=said)


def find_tls_error(code: str, details: str) -> OSError | None:
    """Find what went wrong with TLS in what grpc says, as Python's ssl would raise it."""
    if code != "UNAVAILABLE" or not details.startswith(_CONNECTING):
        return None
    if "Hostname Verification Check failed" in details:
        return _distrust(_OTHER_NAME, "hostname mismatch")
    if found := _FAILED.search(details):
        said = (found[1] or "").strip()
        return _distrust(_VERIFY_CODES.get(said, _NOT_TRUSTED), said)
    if found := _OPENSSL.search(details):
        error = ssl.SSLError()
        error.reason = found[1]
        return error
    return ConnectionResetError() if _GONE.search(details) else None


def _distrust(code: int, message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError()
    error.verify_code, error.verify_message = code, message
    return error


def _describe_no_connection(where: str, said: str) -> str:
    for pattern, text in _NO_CONNECTION:
        if re.search(pattern, said):
            return text.format(where)
    return f"{where} can not be reached: {_shorten(said)}"


def _shorten(said: str) -> str:
    shown = printable(said.strip())
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"

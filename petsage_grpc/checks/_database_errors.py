"""Says what a failure of a database means: the errors of all drivers become a few faults."""

import errno
import re
import socket
import struct
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Final, NamedTuple

__all__ = ["OF_THE_QUERY", "Fault", "FaultError", "Found", "find_fault"]


class Fault(Enum):
    """What can be wrong, and what to do about it."""

    REFUSED = "{at} refuses connections: is the server running, and is that its port?"
    NO_SUCH_HOST = "the host of {at} has no address ({said}): check its name, and the DNS"
    UNREACHABLE = "{at} can not be reached ({said}): check the network and its firewalls"
    CLOSED = "{at} closed the connection: look into its log"
    LOGIN = "{at} refuses the login ({said}): check the user, the password and what it may do"
    NO_DATABASE = "{at} has no such database ({said}): check its name in the url"
    CROWDED = "{at} has no connection left ({said}): close some, or raise the limit"
    NOT_NOW = "{at} takes no connections now ({said}): wait for it, or look into its log"
    WRITES = "the query writes, but a check may only read ({said}): have it read"
    SLOW = (
        "{at} took longer than statement_timeout = {limit} for the query: make it quicker, or raise"
        " statement_timeout, and timeout above it"
    )
    QUERY = "{at} can not answer the query ({said}): correct the query, or what it needs"
    NO_TLS = "{at} does not speak TLS: set tls = false, and no sslmode that demands it"
    DISTRUSTED = (
        "the certificate of {at} is not trusted or has expired: name its authority's file with"
        " tls_ca_cert, or renew it"
    )
    OTHER_NAME = (
        "the certificate of {at} is for another name ({said}): set tls_server_name to a name that"
        " it is for"
    )
    GARBAGE = "{at} does not answer as {system} does: is that its port?"
    NO_FILE = "{at} does not exist: create it, or name another file in the url"
    FILE = "{at} can not be opened ({said}): check who may read it and its directory"
    NO_DATABASE_FILE = "{at} is no database of SQLite, or a broken one: name another, or restore it"
    LOCKED = "{at} is locked by another process: have it end its transactions sooner"
    OTHER = "{at}: {said}"


OF_THE_QUERY: Final = (Fault.WRITES, Fault.SLOW, Fault.QUERY)
"""Faults that no other connection would mend."""


class FaultError(Exception):
    """A fault that we have found ourselves."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.name)
        self.fault = fault


class Found(NamedTuple):
    """A fault, and what the server or the driver said of it."""

    fault: Fault
    said: str


_SQLSTATES: Final[dict[str, Fault | None]] = {
    "08P01": None,  # a pooler has it for whatever it says
    "28": Fault.LOGIN,
    "3D": Fault.NO_DATABASE,
    "53300": Fault.CROWDED,
    "57P03": Fault.NOT_NOW,
    "57P": Fault.CLOSED,
    "08": Fault.CLOSED,
    "25006": Fault.WRITES,
    "57014": Fault.SLOW,
    **dict.fromkeys(("0A", "21", "22", "23", "26", "38", "42", "P0"), Fault.QUERY),
}
"""Faults by how a SQLSTATE begins; of two that fit, the first counts."""

_MYSQL: Final = {
    number: fault
    for fault, numbers in {
        Fault.CROWDED: (1040, 1203, 1226),
        Fault.LOGIN: (1044, 1045, 1129, 1130, 1251, 1698, 1862, 3118, 4151),
        Fault.NO_DATABASE: (1049,),
        Fault.CLOSED: (1053, 1927, 2006, 2013),
        Fault.WRITES: (1290, 1792, 1836),
        Fault.SLOW: (1969, 3024),
        Fault.QUERY: (1054, 1064, 1142, 1143, 1146, 1149, 1305, 1370),
    }.items()
    for number in numbers
}
"""Faults by an error number of MySQL or MariaDB."""

_SQLITE: Final = {
    "SQLITE_CANTOPEN": Fault.FILE,
    "SQLITE_PERM": Fault.FILE,
    "SQLITE_NOTADB": Fault.NO_DATABASE_FILE,
    "SQLITE_CORRUPT": Fault.NO_DATABASE_FILE,
    "SQLITE_BUSY": Fault.LOCKED,
    "SQLITE_LOCKED": Fault.LOCKED,
    "SQLITE_READONLY_": Fault.FILE,
    "SQLITE_READONLY": Fault.WRITES,
    "SQLITE_INTERRUPT": Fault.SLOW,
    "SQLITE_ERROR": Fault.QUERY,
}
"""Faults by how the name of an error of SQLite begins."""

_TEXTS: Final = [
    (re.compile(pattern), fault)
    for pattern, fault in (
        ("Connection refused|running locally", Fault.REFUSED),
        ("failed to resolve host|could not translate host name", Fault.NO_SUCH_HOST),
        ("timeout expired|timed out|No route to host|unreachable", Fault.UNREACHABLE),
        ("certificate verify failed", Fault.DISTRUSTED),
        ("certificate for .* does not match host name", Fault.OTHER_NAME),
        ("does not support SSL|rejected SSL upgrade", Fault.NO_TLS),
        ("response to SSL nego|expected authentication|Packet sequence number", Fault.GARBAGE),
        ("(password|peer|certificate|GSSAPI|SASL) authentication failed|pg_hba.conf", Fault.LOGIN),
        ("no password supplied|valid client certificate", Fault.LOGIN),
        ('role "[^"]*" (does not exist|is not permitted)', Fault.LOGIN),
        ('database "[^"]*" does not exist|no such database', Fault.NO_DATABASE),
        ("too many (clients|connections)|connection slots are reserved", Fault.CROWDED),
        ("the database system is|server login has been failing", Fault.NOT_NOW),
        ("closed the connection|unexpected eof|connection_lost|Connection reset", Fault.CLOSED),
        ("terminating connection|the connection is (closed|lost)", Fault.CLOSED),
    )
]
"""Faults by what a driver says where it gives no code: psycopg gives none of connecting."""

_ERRNOS: Final = {
    errno.ECONNREFUSED: Fault.REFUSED,
    errno.EACCES: Fault.FILE,  # a socket is one too
    **dict.fromkeys(
        (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN),
        Fault.UNREACHABLE,
    ),
    **dict.fromkeys((errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED, errno.EBADF), Fault.CLOSED),
}

_ERRNO: Final = re.compile(r"\[Errno (\d+)\]")
"""Where asyncio gives several errors in one that has no number."""

_CONFUSED: Final = (struct.error, LookupError, ValueError, UnboundLocalError, AssertionError)
"""What a driver raises that has not looked whether it reads what it thinks to read."""

_BEFORE: Final = re.compile(
    r"(connection failed: |connection to server [^\n]*? failed: |consuming input failed: |[A-Z]+:  "
    r"|<class '[^']*'>: |failed to resolve host [^:]*: |\[Errno -?\d+\] )+"
)
"""What libpq and SQLAlchemy put before what is wrong."""


def find_fault(error: BaseException) -> Found:
    """Find out what is wrong from what a driver, or SQLAlchemy around it, has raised."""
    causes = list(_causes(error))
    for cause in causes:
        if fault := _by_code(cause):
            return Found(fault, _said(cause))
    for cause in causes:
        for pattern, fault in _TEXTS:
            if pattern.search(str(cause)):
                return Found(fault, _said(cause))
    if isinstance(causes[0], _CONFUSED):
        return Found(Fault.GARBAGE, "")
    said = _said(causes[0])
    return Found(Fault.OTHER, f"{type(causes[0]).__name__}: {said}".removesuffix(": "))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Go from what SQLAlchemy's error wraps to what lies below."""
    at: BaseException | None = getattr(error, "orig", None) or error
    while at is not None:
        yield at
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)


def _by_code(error: BaseException) -> Fault | None:
    if isinstance(error, FaultError):
        return error.fault
    if isinstance(error, OSError):
        return _by_errno(error)
    if name := getattr(error, "sqlite_errorname", None):
        return _begins(_SQLITE, name)
    number = error.args[0] if error.args else None
    if number in _MYSQL:
        return _MYSQL[number]
    fault = _begins(_SQLSTATES, getattr(error, "sqlstate", None) or "")
    if fault is Fault.SLOW and "user request" in str(error):  # an administrator has ended it
        return Fault.OTHER
    return fault


def _begins(faults: Mapping[str, Fault | None], code: str) -> Fault | None:
    return next((fault for begin, fault in faults.items() if code.startswith(begin)), None)


def _by_errno(error: OSError) -> Fault | None:
    if isinstance(error, socket.gaierror):
        return Fault.NO_SUCH_HOST
    numbers = [error.errno] if error.errno else [int(n) for n in _ERRNO.findall(str(error))]
    return next((_ERRNOS[number] for number in numbers if number in _ERRNOS), None)


def _said(error: BaseException) -> str:
    """Return what is wrong in one line, without what only says where."""
    if isinstance(error, OSError):
        text = error.strerror or str(error)
    elif len(error.args) > 1 and isinstance(error.args[0], int):
        text = str(error.args[1])
    else:
        text = str(error)
    return _BEFORE.sub("", text.strip().partition("\n")[0], count=1)

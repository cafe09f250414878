"""Finds what is to be bound for an address, and makes sure that nobody else has it."""

import errno
import os
import socket
import stat
from pathlib import Path
from typing import Final

from petsage_grpc.errors import BindError
from petsage_grpc.settings_listen import parse_listen

__all__ = ["find_places"]

_CONNECT_TIMEOUT: Final = 1.0
_LONGEST_UNIX_PATH: Final = 107
_WILDCARDS: Final = ("0.0.0.0", "::")  # noqa: S104 -- to know them, not to listen there


def find_places(address: str, setting: str) -> list[str]:
    """Find what is to be bound for an address, and make sure that nobody has it.

    Raises BindError.
    """
    host, port = parse_listen(address)
    if port < 0:
        _free_unix_socket(address, Path(host))
        return [host]
    return _resolve(address, host, port, setting)


def _resolve(address: str, host: str, port: int, setting: str) -> list[str]:
    """Find the numeric addresses of a host on which the port is free, IPv6 ones in brackets.

    grpc would be content when one of a name's addresses is free; a client could then reach
    somebody else at the other one.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else "no valid name"
        raise BindError(f"can not listen on {address}: {host}: {reason}") from None
    free, absent = [], None
    wildcard = host in _WILDCARDS
    if wildcard:  # grpc listens on both families then
        found.append((socket.AF_INET6, socket.SOCK_STREAM, 0, "", ("::", port, 0, 0)))
    for family, _, _, _, sockaddr in dict.fromkeys(found):
        try:
            _try_bind(family, sockaddr)
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                why = _why(error, port, setting)
                raise BindError(f"can not listen on {address}: {why}") from None
            absent = error
            continue
        numeric = str(sockaddr[0])
        free.append(f"[{numeric}]" if family == socket.AF_INET6 else numeric)
    if absent is not None and not free:
        raise BindError(f"can not listen on {address}: {_why(absent, port, setting)}")
    return free[:1] if wildcard else free


def _try_bind(family: int, sockaddr: tuple[object, ...]) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            only = sockaddr[0] not in _WILDCARDS
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        probe.bind(sockaddr)


def _why(error: OSError, port: int, setting: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is taken: stop what listens there, or choose another with {setting}"
    if error.errno == errno.EACCES:
        return f"port {port} needs privileges: choose one above 1023 with {setting}"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"this machine has no such address: choose one of its own with {setting}"
    return str(error.strerror)


def _free_unix_socket(address: str, path: Path) -> None:
    """Remove the socket that a dead server left; grpc would take that of a living one as well."""
    if len(os.fsencode(path)) > _LONGEST_UNIX_PATH:
        raise BindError(f"can not listen on {address}: longer than {_LONGEST_UNIX_PATH} bytes")
    if not path.parent.is_dir():
        raise BindError(f"can not listen on {address}: there is no directory {path.parent}")
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise BindError(f"can not listen on {address}: a file that is no socket stands there")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(_CONNECT_TIMEOUT)  # a server that accepts nobody is one too
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except (TimeoutError, BlockingIOError):
            raise BindError(f"can not listen on {address}: a server that is stuck has it") from None
        except OSError as error:
            raise BindError(f"can not listen on {address}: {error.strerror}") from None
        else:
            raise BindError(f"can not listen on {address}: a server listens there: stop it first")

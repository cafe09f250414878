"""Finds the connections to our ports among the descriptors of this process, and ends one."""

import ctypes
import errno
import fcntl
import os
import resource
import socket
import stat
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

from petsage_grpc.settings_listen import parse_listen

__all__ = ["Connection", "Connections", "count_descriptors", "list_descriptors"]

_DESCRIPTORS: Final = Path("/proc/self/fd")
_LIBC: Final = ctypes.PyDLL(None)
"""Called so it keeps the interpreter: to wait for that after each of thousands takes seconds."""
_NAME_SIZE: Final = 110
_UNIX: Final = -1
"""The port of an address that is a path."""
_EVERY_ADDRESS: Final = ("0.0.0.0", "::")  # noqa: S104 -- to know them, not to listen there


class Connection(NamedTuple):
    """A connection to one of our servers; it differs from each other as long as it lasts.

    All that come by a unix socket are one peer, "unix"; there the number of the socket tells them
    apart.
    """

    address: str
    port: int
    peer: str
    peer_port: int


class Connections:
    """Those to some places of ours.

    Args:
        addresses: where our server listens, as it was bound.
    """

    def __init__(self, addresses: Iterable[str]) -> None:
        places = map(parse_listen, addresses)
        self._places = {
            (host if port == _UNIX else host.partition("%")[0], port) for host, port in places
        }
        self._kept: list[int] = []

    @property
    def can_be_found(self) -> bool:
        """Whether there can be any, on a system that tells of them."""
        return bool(self._places) and _DESCRIPTORS.is_dir()

    def are_at(self, address: str, port: int) -> bool:
        """Say whether this is one of our places."""
        places = self._places
        return (address, port) in places or any((all_, port) in places for all_ in _EVERY_ADDRESS)

    def listeners(self) -> list[int]:
        """List the descriptors that listen there, without those of unix sockets."""
        return [
            descriptor
            for descriptor in list_descriptors()
            if (own := _name(_LIBC.getsockname, descriptor)) is not None
            and own[1] != _UNIX
            and self.are_at(*own)
            and _is_listening(descriptor)
        ]

    def find(self, descriptors: Iterable[int]) -> dict[Connection, int]:
        """Say which of these descriptors are connections."""
        found: dict[Connection, int] = {}
        for descriptor in descriptors:
            connection = self._read(descriptor)
            if connection is not None:
                found[connection] = descriptor
        return found

    def _read(self, descriptor: int) -> Connection | None:
        own = _name(_LIBC.getsockname, descriptor)
        if own is None or not self.are_at(*own):
            return None
        peer = _name(_LIBC.getpeername, descriptor)
        if peer is None:
            return None
        if own[1] != _UNIX:
            return Connection(*own, *peer)
        try:
            return Connection(*own, "unix", os.fstat(descriptor).st_ino)
        except OSError:
            return None

    def close_all(self) -> None:
        """End all that there are."""
        for connection, descriptor in self.find(list_descriptors()).items():
            self.close(descriptor, connection)

    def close(self, descriptor: int, connection: Connection) -> bool:
        """End a connection, and let grpc close its descriptor itself; say whether it was there.

        Between the look and now grpc may have closed it, and the system given its number to
        something else: a descriptor of our own, once it is known what that is, stays what it is.
        """
        own = _LIBC.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 0)
        if own < 0:  # it is gone, or there can be no more of them: then this is the way out
            is_it = self._read(descriptor) == connection
            return is_it and _LIBC.shutdown(descriptor, socket.SHUT_RDWR) == 0
        is_it = self._read(own) == connection
        if is_it:
            _LIBC.shutdown(own, socket.SHUT_RDWR)
        if is_it or stat.S_ISSOCK(os.fstat(own).st_mode):
            _LIBC.close(own)
        else:  # to close one of a file would release the locks that this process has on it
            self._kept.append(own)
        return is_it


def _is_listening(descriptor: int) -> bool:
    value, size = ctypes.c_int(), ctypes.c_uint(ctypes.sizeof(ctypes.c_int))
    told = ctypes.byref(value), ctypes.byref(size)
    failed = _LIBC.getsockopt(descriptor, socket.SOL_SOCKET, socket.SO_ACCEPTCONN, *told)
    return not failed and value.value != 0


def _name(ask: Callable[..., int], descriptor: int) -> tuple[str, int] | None:
    """Say which address and port, or path, an end of a connection has; None when it is none."""
    name, size = ctypes.create_string_buffer(_NAME_SIZE), ctypes.c_uint(_NAME_SIZE)
    if ask(descriptor, name, ctypes.byref(size)) != 0:
        return None
    raw = name.raw
    family, port = int.from_bytes(raw[:2], sys.byteorder), int.from_bytes(raw[2:4], "big")
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, raw[4:8]), port
    if family == socket.AF_INET6:
        return socket.inet_ntop(socket.AF_INET6, raw[8:24]).removeprefix("::ffff:"), port
    if family == socket.AF_UNIX:
        return os.fsdecode(raw[2 : size.value].partition(b"\0")[0]), _UNIX
    return None


def count_descriptors() -> int:
    """Count the descriptors of this process; Linux 6.2 and later tells without a look at each."""
    return _DESCRIPTORS.stat().st_size or len(list_descriptors())


def list_descriptors() -> list[int]:
    """List the descriptors of this process; all that it may have, when it can open no more."""
    try:
        return [int(name) for name in os.listdir(_DESCRIPTORS)]  # noqa: PTH208 -- there are many
    except OSError as error:
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return list(range(most)) if error.errno == errno.EMFILE else []

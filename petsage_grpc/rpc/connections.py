"""Keeps one peer from taking all connections: grpc has no limit for each, so we look ourselves."""

import contextlib
import ctypes
import fcntl
import logging
import os
import resource
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

from petsage_grpc.rpc.limits import Limit, Refusals
from petsage_grpc.settings_listen import parse_listen

__all__ = ["ConnectionGuard", "raise_file_limit"]

_LOOKS_EVERY: Final = 0.5
"""Seconds between two looks while all is well: a flood needs longer to take all connections."""
_LOOKS_AGAIN: Final = 0.2
"""Seconds until the next one after connections had to be closed: more may be coming."""
_PAUSE: Final = 10.0
"""How much more time than a look needs the pause is after it, where all is well."""
_OTHERS: Final = 256
"""Descriptors that a process has besides its connections."""
_DESCRIPTORS: Final = Path("/proc/self/fd")
_LIBC: Final = ctypes.PyDLL(None)
"""Called so it keeps the interpreter: to wait for that after each of thousands takes seconds."""
_NAME_SIZE: Final = 28
_EVERY_ADDRESS: Final = ("0.0.0.0", "::")  # noqa: S104 -- to know them, not to listen there

_log = logging.getLogger("petsage_grpc.limits")


class _Connection(NamedTuple):
    """A connection to one of our servers; it differs from each other as long as it lasts."""

    address: str
    port: int
    peer: str
    peer_port: int


class ConnectionGuard:
    """Closes the newest connections of a peer that has more than it may.

    It looks at the descriptors of this process, on a thread of its own. Where there are too few
    of them for a limit to be reached, that costs a listing of a directory each time.

    Args:
        addresses: where our server listens, as it was bound.
        most_of_peer: connections that one address may have.
        refusals: counts how often the limit was reached.
    """

    def __init__(
        self, addresses: Iterable[str], most_of_peer: int, refusals: Refusals | None = None
    ) -> None:
        places = map(parse_listen, addresses)
        self._places = {(host.partition("%")[0], port) for host, port in places if port > 0}
        self._most_of_peer = most_of_peer
        self._limit = Limit("max_connections_per_peer", most_of_peer)
        self._refusals = Refusals() if refusals is None else refusals
        self._known: frozenset[_Connection] = frozenset()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._kept: list[int] = []

    def start(self) -> None:
        """Look from now on, where the system lets us."""
        if self._places and _DESCRIPTORS.is_dir():
            self._thread = threading.Thread(
                target=self._run, name="petsage connections", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        pause = _LOOKS_EVERY
        while not self._stopping.wait(pause):
            begun = time.thread_time()
            closed = self.look()
            spent = time.thread_time() - begun
            pause = _LOOKS_AGAIN if closed else max(_LOOKS_EVERY, _PAUSE * spent)

    def look(self) -> int:
        """Close what is too much; return how many connections that were."""
        descriptors = _descriptors()
        if len(descriptors) <= self._most_of_peer:
            self._known = frozenset()
            return 0
        found = self._find(descriptors)
        peers: dict[str, list[_Connection]] = {}
        for connection in found:
            peers.setdefault(connection.peer, []).append(connection)
        closed = 0
        for peer, connections in peers.items():
            if len(connections) > self._most_of_peer:
                connections.sort(key=self._known.__contains__, reverse=True)  # the oldest first
                number = sum(
                    self._close(found.pop(connection), connection)
                    for connection in connections[self._most_of_peer :]
                )
                if number:
                    self._refusals.note(
                        self._limit, peer, "connections", did="closed", number=number
                    )
                closed += number
        self._known = frozenset(found)
        return closed

    def _find(self, descriptors: Iterable[int]) -> dict[_Connection, int]:
        found: dict[_Connection, int] = {}
        for descriptor in descriptors:
            connection = self._read(descriptor)
            if connection is not None:
                found[connection] = descriptor
        return found

    def _read(self, descriptor: int) -> _Connection | None:
        """Say what a descriptor is, if it is a connection to one of our ports."""
        own = _name(_LIBC.getsockname, descriptor)
        if own is None or not self._is_ours(*own):
            return None
        peer = _name(_LIBC.getpeername, descriptor)
        return None if peer is None else _Connection(*own, *peer)

    def _is_ours(self, address: str, port: int) -> bool:
        places = self._places
        return (address, port) in places or any((all_, port) in places for all_ in _EVERY_ADDRESS)

    def _close(self, descriptor: int, connection: _Connection) -> bool:
        """End a connection, and let grpc close its descriptor itself.

        Between the look and now grpc may have closed it, and the system given its number to
        something else: a descriptor of our own, once it is known what that is, stays what it is.
        """
        own = _LIBC.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 0)
        if own < 0:
            return False
        is_it = self._read(own) == connection
        if is_it:
            _LIBC.shutdown(own, socket.SHUT_RDWR)
        if is_it or stat.S_ISSOCK(os.fstat(own).st_mode):
            _LIBC.close(own)
        else:  # to close one of a file would release the locks that this process has on it
            self._kept.append(own)
        return is_it


def _name(ask: Callable[..., int], descriptor: int) -> tuple[str, int] | None:
    """Say which address and port an end of a connection has; None when it is none."""
    name, size = ctypes.create_string_buffer(_NAME_SIZE), ctypes.c_uint(_NAME_SIZE)
    if ask(descriptor, name, ctypes.byref(size)) != 0:
        return None
    raw = name.raw
    family, port = int.from_bytes(raw[:2], sys.byteorder), int.from_bytes(raw[2:4], "big")
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, raw[4:8]), port
    if family == socket.AF_INET6:
        return socket.inet_ntop(socket.AF_INET6, raw[8:24]).removeprefix("::ffff:"), port
    return None


def _descriptors() -> list[int]:
    with contextlib.suppress(OSError):  # too many are open to open another
        return [int(name) for name in os.listdir(_DESCRIPTORS)]  # noqa: PTH208 -- there are many
    return []


def raise_file_limit(max_connections: int) -> None:
    """Let this process have as many open files as the connections need, as far as it may.

    It warns when they do not fit: then more are not refused, but wait to be accepted.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max_connections + _OTHERS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        granted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
            soft = granted
        if soft < wanted:
            _log.warning(
                "max_connections = %d do not fit into %d open files: raise the limit"
                " (ulimit -n, LimitNOFILE), or set fewer",
                max_connections, soft,
            )  # fmt: skip

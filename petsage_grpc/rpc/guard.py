"""Keeps one peer from taking all connections or all memory: grpc has no such limit for each."""

import logging
import threading
import time
from collections.abc import Iterable
from operator import itemgetter
from typing import Final, Protocol

from petsage_grpc.rpc._channelz import calls_of, list_servers, traffic_of
from petsage_grpc.rpc._memory import Tidier
from petsage_grpc.rpc._sockets import (
    Connection,
    Connections,
    count_descriptors,
    list_descriptors,
)
from petsage_grpc.rpc.limits import Limit, Refusals

__all__ = ["Guard", "Watches"]

_LOOKS_EVERY: Final = 0.5
"""Seconds between two looks while little comes: a flood needs longer to take all connections."""
_LOOKS_AGAIN: Final = 0.2
"""Seconds that are between two looks at least."""
_PAUSE: Final = 10.0
"""How much more time than a look needs the pause is after it, where all is well."""
_MANY_CALLS: Final = 200
"""Calls after which it looks at once, and at what is under way."""
_MOVING: Final = 0.25
"""The part of the calls taken up lately that ended or stayed, above which a line moves."""
_BELIEVES: Final = 5.0
"""Seconds for which it is believed how many calls of a server are none of those it limits."""
_ENDS: Final = 2e-4
"""Seconds that the end of a call takes, twice over, so that there is time for other calls too."""
_PATIENCE: Final = 15.0
"""Seconds after which too many calls are too many even in a line that moves."""

_log = logging.getLogger("petsage_grpc.limits")


class Watches(Protocol):
    """Who counts the watches that are granted."""

    @property
    def granted(self) -> int:
        """How many there are."""

    @property
    def held(self) -> int:
        """How many there are with the evicted ones whose calls are still open."""

    def granted_to(self, caller: str) -> int:
        """How many there are on the connection from that address and port, `127.0.0.1:1234`."""


class Guard:
    """Hangs up on a peer that has more connections or calls than it may.

    It looks at the descriptors of this process, and at what grpc counts, on a thread of its own.
    Of too many connections the newest go, and of too many in all those of whom has most. Of a peer
    with too many calls the connections with most of them go, once it does not take the answers, or
    sends half of them, or has had its time. A granted watch is no such call, and who comes with
    many calls or watches at once waits in line. What memory a crowd or a flood has needed is given
    back when it is over: the C library would keep it.

    Args:
        watches: counts these.
        most_connections: that there may be in all.
        most_of_peer: connections that one address may have.
        most_calls: calls besides granted watches that one address may have; None for any number.
        refusals: counts how often the limits were reached.
    """

    def __init__(
        self, watches: Watches, *, most_connections: int, most_of_peer: int, most_calls: int | None,
        refusals: Refusals,
    ) -> None:  # fmt: skip
        self._connections = Connections(())
        self._watches = watches
        self._most_connections = most_connections
        self._most_of_peer = most_of_peer
        self._most_calls = most_calls
        self._refusals = refusals
        self._known: frozenset[Connection] = frozenset()
        self._came = 0
        self._seen = 0
        """How many calls had come when those under way were looked at last."""
        self._watched = 0
        """How many watches were granted then."""
        self._pressed: dict[int, float] = {}
        """Since when a server has too many of them under way, whosesoever, by its number."""
        self._ended: dict[int, int] = {}
        """How many had ended, by the server's number."""
        self._servers: list[int] | None = None
        """Those that may be ours, by their numbers; None when they have to be looked for."""
        self._renewals = 0
        self._excused: dict[int, tuple[int, float]] = {}
        """Granted watches, and calls that grpc goes on counting after it has refused them.

        By the server's number, with until when that is believed: watches may leave, and calls of
        whom we hung up on look like refused ones for a while.
        """
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def came(self) -> None:
        """Note that a call was taken up; for the thread of the server alone."""
        self._came += 1
        if not self._came % _MANY_CALLS:
            self._wake.set()

    def renew(self) -> None:
        """Note that a server has taken the place of another."""
        self._renewals += 1
        self._servers = None

    def start(self, connections: Connections) -> None:
        """Look after these from now on, where the system tells of them."""
        self._connections = connections
        if connections.can_be_found:
            self._thread = threading.Thread(target=self._run, name="petsage guard", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        pause, tidier = _LOOKS_AGAIN, Tidier()
        while not self._stopping.wait(pause):
            is_busy = self._wake.wait(_LOOKS_EVERY - _LOOKS_AGAIN)
            self._wake.clear()
            begun = time.thread_time()
            closed = self._try_to_look()
            spent = time.thread_time() - begun
            pause = _LOOKS_AGAIN if closed else max(_LOOKS_AGAIN, _PAUSE * spent)
            tidier.look(self._watches.held, is_busy=is_busy, hung_up=closed > 0)

    def _try_to_look(self) -> int:
        try:
            return self.look()
        except Exception:  # noqa: BLE001 -- without it no limit would be kept from then on
            _log.exception(
                "the limits of each address could not be looked at, and are not kept now"
            )
            return 0

    def look(self) -> int:
        """Close what is too much; return how many connections that were."""
        return self._look_at_connections() + self._look_at_calls()

    def _look_at_connections(self) -> int:
        if count_descriptors() <= min(self._most_connections, self._most_of_peer):
            self._known = frozenset()
            return 0
        found = self._connections.find(list_descriptors())
        peers: dict[str, list[Connection]] = {}
        for connection in sorted(found, key=self._known.__contains__, reverse=True):  # the oldest
            peers.setdefault(connection.peer, []).append(connection)
        most, limit = self._most_of_peer, Limit("max_connections_per_peer", self._most_of_peer)
        closed = sum(
            self._close([(0, connection) for connection in connections[most:]], found, peer, limit)
            for peer, connections in peers.items()
        )
        limit = Limit("max_connections", self._most_connections)
        if len(found) > self._most_connections:
            ranked = [
                one for connections in peers.values() for one in enumerate(connections[:most])
            ]
            # The first of each peer, the second of each, and so on: whoever has most gives some up.
            ranked.sort(key=itemgetter(0))
            for _, connection in ranked[self._most_connections :]:
                closed += self._close([(0, connection)], found, connection.peer, limit)
        self._known = frozenset(found)
        return closed

    def _look_at_calls(self) -> int:
        """Hang up on each peer that has too many calls under way, unless they are a crowd."""
        most, came = self._most_calls, self._came - self._seen
        self._watched = min(self._watched, self._watches.granted)
        if most is None or (came < min(_MANY_CALLS, most) and not self._pressed):
            return 0
        self._seen += came
        before, self._watched = self._watched, self._watches.granted
        servers = self._servers
        if servers is None:
            renewals, servers = self._renewals, list_servers()
            if renewals == self._renewals:  # or there is one more meanwhile
                self._servers = servers
            for known in (self._pressed, self._ended, self._excused):
                for gone in known.keys() - servers:
                    del known[gone]
        now, closed = time.monotonic(), 0
        for server in [*servers]:
            open_, ended = calls_of(server)
            moved = ended - self._ended.get(server, 0) + self._watched - before
            self._ended[server] = ended
            excused, until = self._excused.get(server, (0, 0.0))
            if open_ - (excused if now < until else 0) <= most:
                self._pressed.pop(server, None)
                continue
            is_late = now - self._pressed.setdefault(server, now) > _PATIENCE
            if is_late or moved <= _MOVING * came:
                is_ours, hung_up = self._look_at_traffic(server, open_, most, now)
                closed += hung_up
                if not is_ours:
                    servers.remove(server)
                    self._pressed.pop(server, None)
        return closed

    def _look_at_traffic(self, server: int, open_: int, most: int, now: float) -> tuple[bool, int]:
        """Say whether a server is ours, and how many connections to it have been closed."""
        found = self._connections.find(list_descriptors())
        peers: dict[str, list[tuple[int, Connection]]] = {}
        for traffic in traffic_of(server):
            connection = Connection(*traffic[:4])
            if not self._connections.are_at(connection.address, connection.port):
                return False, 0
            granted = self._watches.granted_to(f"{connection.peer}:{connection.peer_port}")
            limited = traffic.calls - granted
            peers.setdefault(connection.peer, []).append((limited, connection))
            open_ -= limited
            time.sleep(0)  # or the server would wait for the interpreter until all are read
        self._excused[server] = max(0, open_), now + _BELIEVES
        limit = Limit("max_calls_per_peer", most)
        closed = sum(
            self._close(_worst(connections, most), found, peer, limit)
            for peer, connections in peers.items()
        )
        return True, closed

    def _close(
        self, connections: Iterable[tuple[int, Connection]], found: dict[Connection, int],
        peer: str, limit: Limit,
    ) -> int:  # fmt: skip
        """Close connections of a peer that have so many calls; return how many there still were."""
        closed = 0
        for calls, connection in connections:
            if connection in found:
                closed += self._connections.close(found.pop(connection), connection)
                # The ends of all their calls at once would keep the others waiting for seconds.
                self._stopping.wait(calls * _ENDS)
        if closed:
            self._refusals.note(limit, peer, "connections", did="closed", number=closed)
        return closed


def _worst(connections: list[tuple[int, Connection]], most: int) -> list[tuple[int, Connection]]:
    """Pick the connections with most calls, until the others have no more than these."""
    connections.sort()
    left, worst = sum(calls for calls, _ in connections), []
    while left > most:
        worst.append(connections.pop())
        left -= worst[-1][0]
    return worst

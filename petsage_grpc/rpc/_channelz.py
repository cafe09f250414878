"""Reads what grpc counts of its servers: calls that nobody has taken up yet show only there."""

import base64
import json
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

# What grpcio-channelz, of the same release, calls; it would read it into messages just as well.
from grpc._cython import cygrpc  # type: ignore[attr-defined]

__all__ = ["Calls", "Traffic", "calls_of", "list_servers", "traffic_of"]

_IPV4 = 4
"""Bytes of such an address."""


class Calls(NamedTuple):
    """The calls of a server."""

    open: int
    """How many are not over."""
    ended: int
    """How many are."""


class Traffic(NamedTuple):
    """A connection to a server, and the calls on it that are not over."""

    address: str
    port: int
    peer: str
    peer_port: int
    calls: int


def list_servers() -> list[int]:
    """List the servers of this process, by their numbers."""
    servers = _pages(cygrpc.channelz_get_servers, "server")
    return [int(server["ref"]["serverId"]) for server in servers]


def calls_of(server: int) -> Calls:
    """Count the calls of a server; one that is gone has none."""
    try:
        counts = json.loads(cygrpc.channelz_get_server(server))["server"]["data"]
    except ValueError:
        return Calls(0, 0)
    open_ = _open(counts, "calls")
    return Calls(open_, int(counts.get("callsStarted", 0)) - open_)


def traffic_of(server: int) -> Iterator[Traffic]:
    """Tell of each connection of a server; one that ends meanwhile is left out."""

    def page(start: int) -> bytes:
        return cygrpc.channelz_get_server_sockets(server, start, 0)  # type: ignore[no-any-return]

    for ref in _pages(page, "socketRef"):
        try:
            told = json.loads(cygrpc.channelz_get_socket(int(ref["socketId"])))["socket"]
        except ValueError:
            continue
        ends = _end(told.get("local")), _end(told.get("remote"))
        if ends[0] is not None and ends[1] is not None:
            yield Traffic(*ends[0], *ends[1], _open(told["data"], "streams"))


def _pages(ask: Any, what: str) -> Iterator[dict[str, Any]]:  # noqa: ANN401 -- untyped, in C
    start = 0
    while True:
        try:
            page = json.loads(ask(start))
        except ValueError:  # what was asked for is gone
            return
        entries = page.get(what, ())
        yield from entries
        if page.get("end") or not entries:
            return
        last = entries[-1]
        start = 1 + int(last["ref"]["serverId"] if "ref" in last else last["socketId"])


def _open(counts: dict[str, Any], what: str) -> int:
    """Say how many have begun and not ended."""
    started, good, bad = (int(counts.get(what + w, 0)) for w in ("Started", "Succeeded", "Failed"))
    return started - good - bad


def _end(told: "dict[str, Any] | None") -> "tuple[str, int] | None":
    """Read an end of a connection; None for one without an address."""
    place = (told or {}).get("tcpipAddress")
    if place is None:
        return None
    raw = base64.b64decode(place["ipAddress"])
    family = socket.AF_INET if len(raw) == _IPV4 else socket.AF_INET6
    return socket.inet_ntop(family, raw).removeprefix("::ffff:"), int(place["port"])

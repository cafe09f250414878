"""The standard grpc.health.v1.Health over the names: memory reads, and one slot a watcher."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2

from petsage_grpc.core.names import Names, NamesClosedError, Watcher
from petsage_grpc.core.status import Status
from petsage_grpc.core.units import format_duration
from petsage_grpc.rpc._requests import Context, abort, caller_of, parse, peer_in, peer_of, quote
from petsage_grpc.rpc.convert import HEALTH_SERVICE, WIRE_STATUS
from petsage_grpc.rpc.hops import HOPS, HopContext, Hops, Metadata
from petsage_grpc.rpc.limits import Limit, Refusals
from petsage_grpc.rpc.places import NamePlaces, Places, take_one

__all__ = ["MAX_LISTED", "HealthServicer"]

MAX_LISTED: Final = 100
"""List names at most; the canonical proto says so."""

_STAY: Final = ", with those that were evicted and stay"
_RESPONSES: Final = {
    status: health_pb2.HealthCheckResponse(status=wire).SerializeToString()
    for status, wire in WIRE_STATUS.items()
}


class _Follower:
    """A watcher, who it is of, and whether nobody knew its name when it came."""

    __slots__ = ("caller", "is_unknown", "watcher")

    def __init__(self, watcher: Watcher, caller: str, *, is_unknown: bool) -> None:
        self.watcher = watcher
        self.caller = caller
        self.is_unknown = is_unknown

    @property
    def peer(self) -> str:
        return peer_in(self.caller)


class _Sends:
    """The updates that watchers have yet to take, and what is done when one takes too long.

    One timer serves all of them: the limit is the same for each, so the oldest is always first.

    Args:
        timeout: seconds that a watcher has to take an update.
        evict: called with one that took longer.
    """

    def __init__(self, timeout: float, evict: Callable[[_Follower], None]) -> None:
        self.timeout = timeout
        self._evict = evict
        self._begun: dict[_Follower, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, follower: _Follower) -> None:
        """Start the time of an update."""
        loop = asyncio.get_running_loop()
        self._begun[follower] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self.timeout, self._look)

    def end(self, follower: _Follower) -> bool:
        """Note that the watcher has taken its update; say whether that was in time."""
        return self._begun.pop(follower, None) is not None

    def _look(self) -> None:
        loop, self._timer = asyncio.get_running_loop(), None
        while self._begun:
            follower, begun = next(iter(self._begun.items()))
            if loop.time() < begun + self.timeout:
                self._timer = loop.call_at(begun + self.timeout, self._look)
                break
            del self._begun[follower]
            self._evict(follower)


class HealthServicer:
    """Answers Check, List and Watch. No answer waits for anything but its own transport.

    Args:
        names: where the answers are read.
        max_watchers: Watch calls at once.
        max_name_length: bytes in a name that is asked for.
        send_timeout: seconds after which a watcher that has not taken an update is evicted.
        hops: knows where this service stands among those that check each other.
        max_watchers_per_peer: Watch calls at once from one address; if None as many as in all.
        max_unknown_names: names that nobody knows and that are watched at once, half of them from
            one address; if None as many as watchers.
        refusals: counts how often a limit was reached.
    """

    def __init__(
        self,
        names: Names,
        *,
        max_watchers: int,
        max_name_length: int,
        send_timeout: float,
        hops: Hops | None = None,
        max_watchers_per_peer: int | None = None,
        max_unknown_names: int | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        self._names = names
        self._hops = hops or Hops()
        self.refusals = Refusals() if refusals is None else refusals
        """How often each limit was reached."""
        per_peer = max_watchers if max_watchers_per_peer is None else max_watchers_per_peer
        unknown = max_watchers if max_unknown_names is None else max_unknown_names
        self._most = Limit("max_watchers", max_watchers)
        self._most_of_peer = Limit("max_watchers_per_peer", per_peer)
        self._most_unknown = Limit("max_unknown_names", unknown)
        self._longest = Limit("max_name_length", max_name_length)
        self._max_name_length = max_name_length
        self._latest = Limit("watch_send_timeout", format_duration(send_timeout))
        self._sends = _Sends(send_timeout, self._evict)
        # Those that were evicted but keep their call open count here alone.
        self._open = Places(2 * max_watchers, 2 * per_peer)
        self._followers = Places(max_watchers, per_peer)
        self._unknown = NamePlaces(unknown)
        self._granted = Counter[str]()
        self._nobody = asyncio.Event()

    def handlers(self) -> "dict[str, grpc.RpcMethodHandler[bytes, bytes]]":
        """Make the handler of each method, by its path, for a grpc.aio server."""
        return {
            f"/{HEALTH_SERVICE}/Check": grpc.unary_unary_rpc_method_handler(self._check),
            f"/{HEALTH_SERVICE}/List": grpc.unary_unary_rpc_method_handler(self._list),
            f"/{HEALTH_SERVICE}/Watch": grpc.unary_stream_rpc_method_handler(self._watch),
        }

    @property
    def granted(self) -> int:
        """How many watchers there are, without the evicted ones."""
        return self._followers.taken

    @property
    def held(self) -> int:
        """How many there are with the evicted ones whose calls are still open."""
        return self._open.taken

    def granted_to(self, caller: str) -> int:
        """How many of them there are on the connection from that address and port."""
        return self._granted.get(caller, 0)

    async def wait_for_nobody(self) -> None:
        """Wait until each watcher is ended or evicted; the names have been closed."""
        while self._followers.taken:
            self._nobody.clear()
            await self._nobody.wait()

    def hop_handlers(self) -> "dict[str, grpc.RpcMethodHandler[bytes, bytes]]":
        """Make the handlers of calls by other services' checks, which say so in a header."""
        return {f"/{HEALTH_SERVICE}/Check": grpc.unary_unary_rpc_method_handler(self._check_hop)}

    def any_check_handler(self) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """Make the handler of Check for a server that does not look at headers itself."""
        return grpc.unary_unary_rpc_method_handler(self._check_any)

    async def _check_any(self, raw: bytes, context: HopContext) -> bytes:
        is_hop = any(header[0] == HOPS for header in context.invocation_metadata() or ())
        return await (self._check_hop(raw, context) if is_hop else self._check(raw, context))

    async def answer_hop(
        self, name: str, metadata: Metadata | None
    ) -> tuple[Status, tuple[tuple[str, str], ...]]:
        """Say what a name answers who asks with these headers, and with which trailers."""
        return self._names.read(name, self._hops.read(metadata)), self._hops.tell()

    async def _check_hop(self, raw: bytes, context: HopContext) -> bytes:
        name = await self._read_name(raw, context)
        status, trailers = await self.answer_hop(name, context.invocation_metadata())
        context.set_trailing_metadata(trailers)
        return await self._respond(name, status, context)

    async def _check(self, raw: bytes, context: Context) -> bytes:
        name = await self._read_name(raw, context)
        return await self._respond(name, self._names.read(name), context)

    async def _respond(self, name: str, status: Status, context: Context) -> bytes:
        if status is Status.SERVICE_UNKNOWN:
            await abort(context, "NOT_FOUND", f"unknown health name {quote(name)}")
        return _RESPONSES[status]

    async def _list(self, raw: bytes, context: Context) -> bytes:
        await parse(health_pb2.HealthListRequest, raw, context)
        if len(self._names) > MAX_LISTED:
            details = f"{len(self._names)} health names are more than List may tell: {MAX_LISTED}"
            await abort(context, "RESOURCE_EXHAUSTED", details)
        statuses = {
            name: health_pb2.HealthCheckResponse(status=WIRE_STATUS[status])
            for name, status in self._names.read_all().items()
        }
        return health_pb2.HealthListResponse(statuses=statuses).SerializeToString()

    async def _watch(self, raw: bytes, context: Context) -> None:
        """Send what the watcher gets until there is no more, or until it is too slow to take it.

        grpc.aio can not take back a message that the transport has not accepted: a watcher that is
        too slow is forgotten at once, and its call ends when it takes that message or goes away.
        """
        # What is kept here, another frame too, is kept for each watcher as long as it stays.
        name, caller = await self._read_name(raw, context), caller_of(context)
        await self._refuse_beyond_limits(name, peer_in(caller), context)
        follower, in_time = self._enter(name, caller), True
        try:
            while in_time:
                status = await follower.watcher.next()
                self._sends.begin(follower)
                try:
                    await context.write(_RESPONSES[status])
                finally:
                    in_time = self._sends.end(follower)
        except NamesClosedError:
            await abort(context, "UNAVAILABLE", "the service is stopping")
        except grpc.aio.BaseError as error:  # it went away with a message under way
            raise asyncio.CancelledError from error
        finally:
            self._open.leave(follower.peer)
            if in_time:
                self._leave(follower)
        limit_is = format_duration(self._sends.timeout)
        await abort(context, "RESOURCE_EXHAUSTED", f"evicted: took no update within {limit_is}")

    async def _refuse_beyond_limits(self, name: str, peer: str, context: Context) -> None:
        reached = self._limit_of(name, peer)
        if reached is not None:
            limit, details = reached
            self.refusals.note(limit, peer, "watchers")
            await abort(context, "RESOURCE_EXHAUSTED", details)

    def _limit_of(self, name: str, peer: str) -> tuple[Limit, str] | None:
        """Say which limit refuses a watcher, and what it is told; None when there is a place."""
        if (full := self._followers.full()) or self._open.full():
            return self._most, f"too many watchers{'' if full else _STAY}: {self._most}"
        if (full := self._followers.full_for(peer)) or self._open.full_for(peer):
            limit, stay = self._most_of_peer, "" if full else _STAY
            return limit, f"too many watchers from this address{stay}: {limit}"
        if name not in self._names:
            limit = self._most_unknown
            if self._unknown.full_for(peer, name):
                return limit, f"too many unknown names from this address: half of {limit}"
            if self._unknown.full(name):
                return limit, f"too many unknown names are watched: {limit}"
        return None

    def _enter(self, name: str, caller: str) -> _Follower:
        is_unknown = name not in self._names
        follower = _Follower(self._names.watch(name), caller, is_unknown=is_unknown)
        self._open.take(follower.peer)
        self._followers.take(follower.peer)
        self._granted[caller] += 1
        if is_unknown:
            self._unknown.take(follower.peer, name)
        return follower

    def _leave(self, follower: _Follower) -> None:
        follower.watcher.leave()
        self._followers.leave(follower.peer)
        take_one(self._granted, follower.caller)
        if not self._followers.taken:
            self._nobody.set()
        if follower.is_unknown:
            self._unknown.leave(follower.peer, follower.watcher.name)

    def _evict(self, follower: _Follower) -> None:
        self._leave(follower)
        self.refusals.note(self._latest, follower.peer, "watchers", did="evicted")

    async def _read_name(self, raw: bytes, context: Context) -> str:
        if not raw:  # the overall health is asked for most
            return ""
        request = await parse(health_pb2.HealthCheckRequest, raw, context)
        if len(request.service.encode()) > self._max_name_length:
            self.refusals.note(self._longest, peer_of(context), "names")
            await abort(
                context, "INVALID_ARGUMENT", f"the name is longer than {self._longest} bytes"
            )
        return request.service

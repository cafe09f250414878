"""The standard grpc.health.v1.Health over the names: memory reads, and one slot a watcher."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2

from petsage_grpc.core.names import Names, NamesClosedError, Watcher
from petsage_grpc.core.status import Status
from petsage_grpc.core.units import format_duration
from petsage_grpc.rpc._memory import trim_memory
from petsage_grpc.rpc._requests import Context, abort, parse, quote
from petsage_grpc.rpc.convert import HEALTH_SERVICE, WIRE_STATUS
from petsage_grpc.rpc.hops import HOPS, HopContext, Hops, Metadata

__all__ = ["MAX_LISTED", "HealthServicer"]

MAX_LISTED: Final = 100
"""List names at most; the canonical proto says so."""

_RESPONSES: Final = {
    status: health_pb2.HealthCheckResponse(status=wire).SerializeToString()
    for status, wire in WIRE_STATUS.items()
}

_CROWD: Final = 500
"""Watchers whose memory is worth to be given back."""
_CROWD_LEAVES: Final = 0.5
"""Seconds in which nobody more may leave before the memory of a crowd is given back."""

_log = logging.getLogger("petsage_grpc.health")


class _Sends:
    """The updates that watchers have yet to take, and what is done when one takes too long.

    One timer serves all of them: the limit is the same for each, so the oldest is always first.

    Args:
        timeout: seconds that a watcher has to take an update.
        evict: called with a watcher that took longer.
    """

    def __init__(self, timeout: float, evict: Callable[[Watcher], None]) -> None:
        self.timeout = timeout
        self._evict = evict
        self._begun: dict[Watcher, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, watcher: Watcher) -> None:
        """Start the time of an update."""
        loop = asyncio.get_running_loop()
        self._begun[watcher] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self.timeout, self._look)

    def end(self, watcher: Watcher) -> bool:
        """Note that the watcher has taken its update; say whether that was in time."""
        return self._begun.pop(watcher, None) is not None

    def _look(self) -> None:
        loop, self._timer, late = asyncio.get_running_loop(), None, 0
        while self._begun:
            watcher, begun = next(iter(self._begun.items()))
            if loop.time() < begun + self.timeout:
                self._timer = loop.call_at(begun + self.timeout, self._look)
                break
            del self._begun[watcher]
            self._evict(watcher)
            late += 1
        if late:  # one line for a crowd: clients must not fill the log
            _log.warning("evicted %d watchers that took no update in time", late)


class HealthServicer:
    """Answers Check, List and Watch. No answer waits for anything but its own transport.

    Args:
        names: where the answers are read.
        max_watchers: Watch calls at once.
        max_name_length: bytes in a name that is asked for.
        send_timeout: seconds after which a watcher that has not taken an update is evicted.
        hops: knows where this service stands among those that check each other.
    """

    def __init__(
        self,
        names: Names,
        *,
        max_watchers: int,
        max_name_length: int,
        send_timeout: float,
        hops: Hops | None = None,
    ) -> None:
        self._names = names
        self._hops = hops or Hops()
        self._max_watchers = max_watchers
        self._max_name_length = max_name_length
        self._sends = _Sends(send_timeout, self._evict)
        self._open_watches = 0
        self._followers = 0  # open watches that have not been evicted
        self._most_watches = 0  # since memory was given back last

    def handlers(self) -> "dict[str, grpc.RpcMethodHandler[bytes, bytes]]":
        """Make the handler of each method, by its path, for a grpc.aio server."""
        return {
            f"/{HEALTH_SERVICE}/Check": grpc.unary_unary_rpc_method_handler(self._check),
            f"/{HEALTH_SERVICE}/List": grpc.unary_unary_rpc_method_handler(self._list),
            f"/{HEALTH_SERVICE}/Watch": grpc.unary_stream_rpc_method_handler(self._watch),
        }

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
        name = await self._read_name(raw, context)
        most = self._max_watchers
        if self._followers >= most or self._open_watches >= 2 * most:
            # Those that were evicted but keep their call open count apart, up to as many again.
            await abort(context, "RESOURCE_EXHAUSTED", f"too many watchers: max_watchers = {most}")
        self._open_watches += 1
        self._followers += 1
        self._most_watches = max(self._most_watches, self._open_watches)
        try:
            with self._names.watch(name) as watcher:
                in_time = await self._follow(watcher, context)
        finally:
            self._open_watches -= 1
            self._give_memory_back()
        if in_time:
            await abort(context, "UNAVAILABLE", "the service is stopping")
        limit = format_duration(self._sends.timeout)
        await abort(context, "RESOURCE_EXHAUSTED", f"evicted: took no update within {limit}")

    async def _follow(self, watcher: Watcher, context: Context) -> bool:
        """Send what the watcher gets until there is no more, or until it is too slow to take it.

        grpc.aio can not take back a message that the transport has not accepted: a watcher that is
        too slow is forgotten at once, and its call ends when it takes that message or goes away.
        """
        in_time = True
        try:
            while in_time:
                status = await watcher.next()
                self._sends.begin(watcher)
                try:
                    await context.write(_RESPONSES[status])
                finally:
                    in_time = self._sends.end(watcher)
        except NamesClosedError:
            pass
        except grpc.aio.BaseError as error:  # it went away with a message under way
            raise asyncio.CancelledError from error
        finally:
            if in_time:
                self._followers -= 1
        return in_time

    def _evict(self, watcher: Watcher) -> None:
        self._followers -= 1
        watcher.leave()

    def _give_memory_back(self) -> None:
        """Let the system have what a crowd of watchers needed, once it has left."""
        if self._most_watches >= _CROWD and self._open_watches < self._most_watches / 2:
            self._most_watches = 0  # it is looked after from here on
            loop = asyncio.get_running_loop()
            loop.call_later(_CROWD_LEAVES, self._wait_for_the_rest, self._open_watches)

    def _wait_for_the_rest(self, left_before: int) -> None:
        loop, left = asyncio.get_running_loop(), self._open_watches
        if left < left_before:
            loop.call_later(_CROWD_LEAVES, self._wait_for_the_rest, left)
        else:
            loop.run_in_executor(None, trim_memory)

    async def _read_name(self, raw: bytes, context: Context) -> str:
        if not raw:  # the overall health is asked for most
            return ""
        request = await parse(health_pb2.HealthCheckRequest, raw, context)
        if len(request.service.encode()) > self._max_name_length:
            limit = f"max_name_length = {self._max_name_length} bytes"
            await abort(context, "INVALID_ARGUMENT", f"the name is longer than {limit}")
        return request.service

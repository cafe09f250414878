"""Server reflection, with the methods' own names: `grpcurl describe` and ghz ask for those."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import grpc
import grpc.aio
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection, reflection_pb2

from petsage_grpc.core.units import format_duration
from petsage_grpc.rpc._requests import Context, abort, parse, peer_of
from petsage_grpc.rpc.limits import Limit, Refusals
from petsage_grpc.rpc.places import Places

__all__ = ["IDLE", "MAX_CALLS", "MAX_CALLS_PER_PEER", "REFLECTION_SERVICE", "reflection_handlers"]

REFLECTION_SERVICE: str = reflection.SERVICE_NAME

MAX_CALLS: Final = 200
"""Calls at once: each holds some 80 kB, and the tools of people make a few."""
MAX_CALLS_PER_PEER: Final = 50
"""Of these from one address."""
IDLE: Final = 60.0
"""Seconds after which a call that asks nothing is ended."""


class _Pool:
    """The default descriptor pool, which also finds the file that holds a method."""

    def __init__(self) -> None:
        self._pool = descriptor_pool.Default()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- whatever the pool has of that name
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802 -- the pool's
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service_name, _, method = symbol.rpartition(".")
            service = self._pool.FindServiceByName(service_name)
            if method not in service.methods_by_name:
                raise
            return service.file


def _heard_of(request: "asyncio.Future[Any]") -> None:
    """Let nobody complain of a request that came, or was the last one, when the call had ended."""
    if not request.cancelled():
        request.exception()


class _IdleError(Exception):
    """Raised when a call has asked nothing for too long."""


async def _until(
    stopping: asyncio.Event, requests: AsyncIterator[bytes], idle: float, context: Context
) -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
    """Hand the requests on until there are no more, or until it is time to stop.

    Raises _IdleError when none comes in time.
    """
    stop = asyncio.ensure_future(stopping.wait())
    try:
        while True:
            request = asyncio.ensure_future(anext(requests))
            request.add_done_callback(_heard_of)
            first = asyncio.FIRST_COMPLETED
            done, _ = await asyncio.wait({request, stop}, timeout=idle, return_when=first)
            if not request.done():
                request.cancel()
                if not done:
                    raise _IdleError
                return
            try:
                raw = request.result()
            except StopAsyncIteration:
                return
            yield await parse(reflection_pb2.ServerReflectionRequest, raw, context)
    finally:
        stop.cancel()


def reflection_handlers(
    services: Iterable[str],
    stopping: asyncio.Event,
    *,
    refusals: Refusals | None = None,
    idle: float = IDLE,
) -> "dict[str, grpc.RpcMethodHandler[Any, Any]]":
    """Make the handler that tells clients of these services and of how to call them.

    Tools keep such a call open for long; when the server is `stopping` it is ended.

    Args:
        services: their names.
        stopping: set when the server stops.
        refusals: counts how often a limit was reached.
        idle: seconds after which a call that asks nothing is ended; one that does not take its
            answer can not be, and keeps its place until it goes away.
    """
    names = (*services, REFLECTION_SERVICE)
    servicer = reflection.aio.ReflectionServicer(names, _Pool())  # type: ignore[no-untyped-call]
    places, refused = Places(MAX_CALLS, MAX_CALLS_PER_PEER), refusals or Refusals()
    most = Limit("reflection_calls", MAX_CALLS)
    most_of_peer = Limit("reflection_calls_per_peer", MAX_CALLS_PER_PEER)
    latest = Limit("reflection_idle", format_duration(idle))

    async def answer(requests: AsyncIterator[Any], context: Any) -> None:  # noqa: ANN401 -- grpc's
        asked = _until(stopping, requests, idle, context)
        async for response in servicer.ServerReflectionInfo(asked, context):
            await context.write(response)

    async def reflect(requests: AsyncIterator[Any], context: Any) -> None:  # noqa: ANN401 -- grpc's
        peer = peer_of(context)
        if (full := places.full()) or places.full_for(peer):
            limit, whose = (most, "in all") if full else (most_of_peer, "from this address")
            refused.note(limit, peer, "calls of reflection")
            details = f"too many calls of reflection at once: {limit.value} {whose}"
            await abort(context, "RESOURCE_EXHAUSTED", details)
        places.take(peer)
        try:
            await answer(requests, context)
        except _IdleError:
            refused.note(latest, peer, "calls of reflection", did="ended")
            details = f"asked nothing for {latest.value}: begin another call"
            await abort(context, "RESOURCE_EXHAUSTED", details)
        except grpc.aio.AbortError:
            raise
        except grpc.aio.BaseError as error:  # it went away with a message under way
            raise asyncio.CancelledError from error
        finally:
            places.leave(peer)

    handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
        reflect,
        None,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return {f"/{REFLECTION_SERVICE}/ServerReflectionInfo": handler}

"""Reflection is bounded: so many calls of a peer at once, and none that asks nothing."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from grpc_reflection.v1alpha import reflection_pb2

from petsage_grpc.rpc.limits import Refusals
from petsage_grpc.rpc.reflection import MAX_CALLS, MAX_CALLS_PER_PEER, reflection_handlers

if TYPE_CHECKING:
    Call = grpc.aio.StreamStreamCall[Any, Any]


@contextlib.asynccontextmanager
async def reflecting(idle: float, refusals: Refusals) -> AsyncIterator[Callable[[], "Call"]]:
    """Serve reflection; begin a call of it each time that is asked."""
    handlers = reflection_handlers([], asyncio.Event(), refusals=refusals, idle=idle)
    (path,) = handlers

    class Methods(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
            return handlers.get(handler_call_details.method)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Methods(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        method: grpc.aio.StreamStreamMultiCallable[Any, Any] = channel.stream_stream(
            path,
            reflection_pb2.ServerReflectionRequest.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString,
        )

        yield method
    await server.stop(None)


async def is_answered(call: "Call") -> bool:
    try:
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        return await call.read() is not grpc.aio.EOF
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return False


async def test_a_peer_with_too_many_calls_of_reflection_is_refused_until_one_ends() -> None:
    assert MAX_CALLS_PER_PEER < MAX_CALLS
    refusals = Refusals()
    async with reflecting(1000, refusals) as begin:
        calls = [begin() for _ in range(MAX_CALLS_PER_PEER)]
        assert all([await is_answered(call) for call in calls])
        refused = begin()
        assert await refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refusals.counts() == {"reflection": 1}
        calls[0].cancel()
        while not await is_answered(begin()):
            pass


async def test_a_call_of_reflection_that_asks_nothing_is_ended() -> None:
    async with reflecting(0.05, Refusals()) as begin:
        call = begin()
        assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await call.details() == "asked nothing for 50ms: begin another call"

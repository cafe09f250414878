"""Reflection is bounded: so many calls of a peer at once, and none that asks nothing."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio
from grpc_reflection.v1alpha import reflection_pb2

from petsage_grpc.rpc.limits import Refusals
from petsage_grpc.rpc.reflection import (
    MAX_CALLS,
    MAX_CALLS_PER_PEER,
    REFLECTION_SERVICE,
    reflection_handlers,
)
from tests.rpc.limited import Caller, headers_of

if TYPE_CHECKING:
    Call = grpc.aio.StreamStreamCall[Any, Any]

PATH: Final = f"/{REFLECTION_SERVICE}/ServerReflectionInfo"
LIST_SERVICES: Final = reflection_pb2.ServerReflectionRequest(list_services="")


@contextlib.asynccontextmanager
async def serving(idle: float, refusals: Refusals) -> AsyncIterator[str]:
    """Serve reflection; give the address."""
    handlers = reflection_handlers([], asyncio.Event(), refusals=refusals, idle=idle)

    class Methods(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
            return handlers.get(handler_call_details.method)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Methods(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@contextlib.asynccontextmanager
async def reflecting(idle: float, refusals: Refusals) -> AsyncIterator[Callable[[], "Call"]]:
    """Serve reflection; begin a call of it each time that is asked."""
    async with (
        serving(idle, refusals) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        method: grpc.aio.StreamStreamMultiCallable[Any, Any] = channel.stream_stream(
            PATH,
            reflection_pb2.ServerReflectionRequest.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString,
        )

        yield method


class Reflecting(Caller):
    """A peer that keeps its calls of reflection open."""

    async def reflect(self) -> "tuple[str, str] | None":
        """Begin one more and ask something; None when that is answered, and the call goes on."""
        self._next += 2
        raw = LIST_SERVICES.SerializeToString()
        self.http2.send_headers(self._next, headers_of(PATH))
        self.http2.send_data(self._next, b"\0" + len(raw).to_bytes(4, "big") + raw)
        self.flush()
        return await self.first_of(self._next)


async def is_answered(call: "Call") -> bool:
    try:
        await call.write(LIST_SERVICES)
        return await call.read() is not grpc.aio.EOF
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return False


async def test_a_peer_with_too_many_calls_of_reflection_is_refused_until_one_ends() -> None:
    assert MAX_CALLS_PER_PEER < MAX_CALLS
    told = f"too many calls of reflection at once: {MAX_CALLS_PER_PEER} from this address"
    refusals = Refusals()
    async with reflecting(1000, refusals) as begin:
        calls = [begin() for _ in range(MAX_CALLS_PER_PEER)]
        assert all([await is_answered(call) for call in calls])
        refused = begin()
        assert await refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await refused.details() == told
        assert refusals.counts() == {"reflection_calls_per_peer": 1}
        calls[0].cancel()
        while not await is_answered(begin()):
            pass


async def test_too_many_calls_of_reflection_in_all_are_refused_to_any_peer_until_one_leaves() -> (
    None
):
    told = "RESOURCE_EXHAUSTED", f"too many calls of reflection at once: {MAX_CALLS} in all"
    sources = [f"127.0.0.{2 + number}" for number in range(-(-MAX_CALLS // MAX_CALLS_PER_PEER))]
    refusals = Refusals()
    async with serving(1000, refusals) as address, contextlib.AsyncExitStack() as stack:
        peers = [
            await stack.enter_async_context(await Reflecting.connect(address, source))
            for source in sources
        ]
        answers = [await peers[n % len(peers)].reflect() for n in range(MAX_CALLS)]
        assert answers == [None] * MAX_CALLS
        async with await Reflecting.connect(address) as one_more:
            assert await one_more.reflect() == told
            assert refusals.counts() == {"reflection_calls": 1}
            await peers[0].leave()
            while await one_more.reflect() is not None:
                pass


async def test_a_call_of_reflection_that_asks_nothing_is_ended() -> None:
    refusals = Refusals()
    async with reflecting(0.05, refusals) as begin:
        call = begin()
        assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await call.details() == "asked nothing for 50ms: begin another call"
    assert refusals.counts() == {"reflection_idle": 1}

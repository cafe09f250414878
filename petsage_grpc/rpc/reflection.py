"""Server reflection, with the methods' own names: `grpcurl describe` and ghz ask for those."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
import grpc.aio
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection, reflection_pb2

__all__ = ["REFLECTION_SERVICE", "reflection_handlers"]

REFLECTION_SERVICE: str = reflection.SERVICE_NAME


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


async def _until(stopping: asyncio.Event, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Hand the requests on until there are no more, or until it is time to stop."""
    stop = asyncio.ensure_future(stopping.wait())
    try:
        while True:
            request = asyncio.ensure_future(anext(requests))
            request.add_done_callback(_heard_of)
            await asyncio.wait({request, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not request.done():
                request.cancel()
                return
            try:
                yield request.result()
            except StopAsyncIteration:
                return
    finally:
        stop.cancel()


def reflection_handlers(
    services: Iterable[str], stopping: asyncio.Event
) -> "dict[str, grpc.RpcMethodHandler[Any, Any]]":
    """Make the handler that tells clients of these services and of how to call them.

    Tools keep such a call open for long; when the server is `stopping` it is ended.
    """
    names = (*services, REFLECTION_SERVICE)
    servicer = reflection.aio.ReflectionServicer(names, _Pool())  # type: ignore[no-untyped-call]

    async def reflect(requests: AsyncIterator[Any], context: Any) -> None:  # noqa: ANN401 -- grpc's
        try:
            async for response in servicer.ServerReflectionInfo(
                _until(stopping, requests), context
            ):
                await context.write(response)
        except grpc.aio.BaseError as error:  # it went away with a message under way
            raise asyncio.CancelledError from error

    handler = grpc.stream_stream_rpc_method_handler(
        reflect,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return {f"/{REFLECTION_SERVICE}/ServerReflectionInfo": handler}

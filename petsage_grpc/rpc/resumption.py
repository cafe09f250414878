"""Refuses who resumes a TLS session with an expired certificate: TLS does not look at it again."""

import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio

if TYPE_CHECKING:
    _Handler = grpc.RpcMethodHandler[Any, Any]

__all__ = ["RefuseExpired", "has_expired"]

_REUSED: Final = "ssl_session_reused"
_CERTIFICATE: Final = "x509_pem_cert"
_EXPIRED: Final = "the client certificate of the resumed TLS session has expired: begin another"
_CODE: Final = grpc.StatusCode.UNAUTHENTICATED

_SEVERAL_BYTES: Final = 0x80
_VERSION: Final = 0xA0
_UTC_TIME: Final = 0x17

_now = time.time


def has_expired(auth_context: Mapping[str, Iterable[bytes]]) -> bool:
    """Say whether a connection was let in by a session whose certificate holds no more.

    A connection that is open when its certificate expires is none of these, and stays.

    Args:
        auth_context: what grpc knows of its TLS.
    """
    if b"true" not in auth_context.get(_REUSED, ()):
        return False
    return any(_now() >= _end_of(pem) for pem in auth_context.get(_CERTIFICATE, ()))


@lru_cache(maxsize=1000)
def _end_of(pem: bytes) -> float:
    """Read when a certificate expires, in seconds since the epoch."""
    import ssl  # noqa: PLC0415 -- few have certificates

    der = ssl.PEM_cert_to_DER_cert(pem.decode())
    at, _ = _inside(der, _inside(der, 0)[0])
    if der[at] == _VERSION:
        at = _inside(der, at)[1]
    for _ in ("serial number", "algorithm", "issuer"):
        at = _inside(der, at)[1]
    end = _inside(der, _inside(der, at)[0])[1]
    text = der[slice(*_inside(der, end))].decode()
    year = "%y" if der[end] == _UTC_TIME else "%Y"
    return datetime.strptime(text, f"{year}%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _inside(der: bytes, at: int) -> tuple[int, int]:
    """Say where what stands in DER begins and ends, without its kind and its length."""
    length, begin = der[at + 1], at + 2
    if length & _SEVERAL_BYTES:
        begin, size = begin + (length & ~_SEVERAL_BYTES), begin
        length = int.from_bytes(der[size:begin], "big")
    return begin, begin + length


class RefuseExpired(grpc.aio.ServerInterceptor):
    """Ends such a call with UNAUTHENTICATED, whichever service it is of."""

    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "_Handler | None":
        """Have the handler of a call look at its connection first."""
        handler: Any = await continuation(handler_call_details)
        if handler is None:
            return None
        sides = (handler.request_streaming, handler.response_streaming)
        kind = "_".join("stream" if streams else "unary" for streams in sides)
        make: Any = getattr(grpc, f"{kind}_rpc_method_handler")
        serve = _refusing(getattr(handler, kind), many=handler.response_streaming)
        made: _Handler = make(serve, handler.request_deserializer, handler.response_serializer)
        return made


def _refusing(serve: Callable[[Any, Any], Any], *, many: bool) -> Callable[[Any, Any], Any]:
    """Look at the connection before a call is served; grpc.aio tells by the kind of function how.

    Args:
        serve: takes a request, or more of them, and the context of the call.
        many: whether it gives many responses.
    """
    if inspect.isasyncgenfunction(serve):

        async def serve_many(request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: ANN401
            if has_expired(context.auth_context()):
                await context.abort(_CODE, _EXPIRED)
            async for response in serve(request, context):
                yield response

        return serve_many
    if inspect.iscoroutinefunction(serve):

        async def serve_one(request: Any, context: Any) -> Any:  # noqa: ANN401 -- as theirs
            if has_expired(context.auth_context()):
                await context.abort(_CODE, _EXPIRED)
            return await serve(request, context)

        return serve_one

    return _refusing_on_a_thread(serve, many=many)


def _refusing_on_a_thread(
    serve: Callable[[Any, Any], Any], *, many: bool
) -> Callable[[Any, Any], Any]:
    def refuse(context: Any) -> None:  # noqa: ANN401 -- as grpc has it for functions on threads
        if has_expired(context.auth_context()):
            context.abort(_CODE, _EXPIRED)

    def serve_one_on_a_thread(request: Any, context: Any) -> Any:  # noqa: ANN401 -- as theirs
        refuse(context)
        return serve(request, context)

    def serve_many_on_a_thread(request: Any, context: Any) -> Iterator[Any]:  # noqa: ANN401
        refuse(context)
        yield from serve(request, context)

    # grpc.aio calls what gives many on its event loop, and only goes on with it on a thread.
    return serve_many_on_a_thread if many else serve_one_on_a_thread

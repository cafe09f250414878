"""Bounds the calls of a peer that are under way: one that takes no answer has them keep memory."""

import sys
from collections.abc import Mapping
from typing import Any

import grpc

from petsage_grpc.rpc._memory import Crowd
from petsage_grpc.rpc._requests import Context, abort, peer_of
from petsage_grpc.rpc.limits import Limit, Refusals
from petsage_grpc.rpc.places import Places

__all__ = ["Calls"]


class Calls:
    """The calls with one answer that are under way, until that has been taken.

    Args:
        most_of_peer: how many there may be at once from one address.
        refusals: counts how often the limit was reached.
    """

    def __init__(self, most_of_peer: int, refusals: Refusals) -> None:
        self._places = Places(sys.maxsize, most_of_peer)
        self._limit = Limit("max_calls_per_peer", most_of_peer)
        self._refusals = refusals
        self._crowd = Crowd(lambda: self._places.taken)

    def bound(
        self, handlers: "Mapping[str, grpc.RpcMethodHandler[Any, Any]]"
    ) -> "dict[str, grpc.RpcMethodHandler[Any, Any]]":
        """Make handlers that count the calls; those with a stream of answers stay as they are."""
        return {
            path: handler if handler.unary_unary is None else self._bounded(handler.unary_unary)
            for path, handler in handlers.items()
        }

    def _bounded(self, behavior: Any) -> "grpc.RpcMethodHandler[Any, Any]":  # noqa: ANN401 -- grpc's
        places, crowd = self._places, self._crowd

        async def answer(raw: bytes, context: Context) -> bytes:
            peer = peer_of(context)
            if places.full_for(peer):
                self._refusals.note(self._limit, peer, "calls")
                details = f"too many calls from this address: {self._limit}"
                await abort(context, "RESOURCE_EXHAUSTED", details)
            places.take(peer)
            crowd.came()

            def leave(_: object) -> None:
                places.leave(peer)
                crowd.left()

            context.add_done_callback(leave)  # when the answer has been taken, or nobody will
            return await behavior(raw, context)  # type: ignore[no-any-return]

        return grpc.unary_unary_rpc_method_handler(answer)

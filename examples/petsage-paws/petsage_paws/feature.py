"""The feature `paws`: a service, and the check by which its smoke test answers."""

import asyncio

import grpc.aio
from petsage_grpc import CheckFailedError, Feature

from petsage_paws.paws_pb2 import ShakeRequest, ShakeResponse
from petsage_paws.paws_pb2_grpc import PawsServiceServicer, add_PawsServiceServicer_to_server

__all__ = ["mount"]

_MOST_WAITING = 100
"""Calls that wait for a paw; with more of them the pet is overworked."""


class Paws(PawsServiceServicer):
    """Shakes one paw after the other."""

    def __init__(self) -> None:
        self.waiting = 0
        self._paw = asyncio.Lock()

    async def Shake(  # noqa: N802 -- the name is the protocol's
        self,
        request: ShakeRequest,
        _: "grpc.aio.ServicerContext[ShakeRequest, ShakeResponse]",
    ) -> ShakeResponse:
        """Shake it when it is free."""
        self.waiting += 1
        try:
            async with self._paw:
                return ShakeResponse(message=f"{request.name} shakes your hand.")
        finally:
            self.waiting -= 1


def mount(feature: Feature) -> None:
    """Put the service and its check in; called once, when petsage-grpc starts."""
    paws = Paws()
    feature.message = "All paws are fine."
    add_PawsServiceServicer_to_server(paws, feature)

    @feature.check("paws", interval=5, gates=[])
    async def not_overworked() -> None:
        if paws.waiting > _MOST_WAITING:
            raise CheckFailedError(f"{paws.waiting} calls wait for a paw: add replicas")

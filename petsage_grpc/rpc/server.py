"""Puts the servicers on one grpc.aio server with its limits, on ports that nobody shares."""

import asyncio
from collections.abc import Iterable, Sequence

import grpc.aio

from petsage_grpc.errors import BindError
from petsage_grpc.rpc.connections import ConnectionGuard
from petsage_grpc.rpc.handlers import make_handlers, make_probe_handlers
from petsage_grpc.rpc.health import HealthServicer
from petsage_grpc.rpc.limits import server_options
from petsage_grpc.rpc.ports import find_places
from petsage_grpc.rpc.services import Services
from petsage_grpc.rpc.smoke_test import SmokeTestServicer
from petsage_grpc.rpc.tls import Certificates
from petsage_grpc.settings import Settings
from petsage_grpc.settings_listen import parse_listen

__all__ = ["Server"]


class Server:
    """A grpc.aio server with its limits, on the running event loop.

    Args:
        health: answers grpc.health.v1.Health.
        smoke_test: answers petsage.v1.SmokeTestService.
        mounted: the services of others.
        settings: its limits, and whether it says which services there are.
        max_message_size: bytes in a request.
        certificates: what it shows in TLS; without any it speaks none.
        probes_alone: whether Check is all that it answers.
    """

    def __init__(
        self,
        health: HealthServicer,
        smoke_test: SmokeTestServicer | None = None,
        mounted: Sequence[Services] = (),
        *,
        settings: Settings,
        max_message_size: int,
        certificates: Certificates | None = None,
        probes_alone: bool = False,
    ) -> None:
        self.addresses: tuple[str, ...] = ()
        """Where it listens, with the port that was bound."""
        self._stopping = asyncio.Event()
        self._starting = asyncio.Lock()
        self._server = grpc.aio.server(options=server_options(settings, max_message_size))
        self._certificates = certificates
        self._most_of_peer = settings.max_connections_per_peer
        self._refusals = health.refusals
        self._guard: ConnectionGuard | None = None
        self._server.add_generic_rpc_handlers(
            make_probe_handlers(health, settings)
            if probes_alone
            else make_handlers(
                health, smoke_test, mounted, settings=settings, stopping=self._stopping
            )
        )

    def bind(self, listen: Iterable[str], setting: str) -> None:
        """Take every address; it answers there once it is started.

        Args:
            listen: the addresses.
            setting: where others could be chosen.

        Raises BindError when one can not be had; nothing answers then.
        """
        # All are looked at before one is bound: grpc can not give back a port that it has bound.
        found = [(address, find_places(address, setting)) for address in listen]
        self.addresses = tuple(
            bound for address, places in found for bound in self._bind(address, places)
        )
        self._guard = ConnectionGuard(self.addresses, self._most_of_peer, self._refusals)

    async def start(self) -> None:
        """Answer from now on."""
        async with self._starting:
            await self._server.start()
        if self._guard is not None:
            self._guard.start()

    async def stop(self, grace: float | None) -> None:
        """Take no new calls and wait for those under way, at most `grace` seconds."""
        self._stopping.set()
        if self._guard is not None:
            self._guard.stop()
        async with self._starting:  # or a stop in the midst of a start would crash the interpreter
            pass
        await self._server.stop(grace)

    def _bind(self, address: str, places: list[str]) -> list[str]:
        host, port = parse_listen(address)
        if port < 0:
            self._add_port(address, f"unix:{host}")
            return [address]
        bound = []
        for place in places:
            # The second address of a name with port 0 gets the port of the first.
            port = self._add_port(address, f"{place}:{port}")
            bound.append(f"{place}:{port}")
        return bound

    def _add_port(self, address: str, target: str) -> int:
        try:
            if self._certificates is None:
                return self._server.add_insecure_port(target)
            return self._server.add_secure_port(target, self._certificates.credentials())
        except RuntimeError:
            raise BindError(
                f"can not listen on {address}: it is taken, perhaps by another address in listen"
            ) from None

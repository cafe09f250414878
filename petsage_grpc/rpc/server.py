"""Puts the servicers on grpc.aio servers with their limits, several of them on each port."""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final

import grpc.aio

from petsage_grpc.errors import BindError
from petsage_grpc.rpc._lanes import LANES, SPARES, share, steer
from petsage_grpc.rpc._sockets import Connections
from petsage_grpc.rpc.guard import Guard
from petsage_grpc.rpc.handlers import make_handlers, make_probe_handlers
from petsage_grpc.rpc.health import HealthServicer
from petsage_grpc.rpc.limits import server_options
from petsage_grpc.rpc.ports import find_places
from petsage_grpc.rpc.resumption import RefuseExpired
from petsage_grpc.rpc.services import Services
from petsage_grpc.rpc.smoke_test import SmokeTestServicer
from petsage_grpc.rpc.tls import Certificates
from petsage_grpc.settings import Settings
from petsage_grpc.settings_listen import parse_listen

__all__ = ["Server"]

_BINDS_AGAIN: Final = 0.05
"""Seconds until it is tried again to take an address that was ours."""
_BINDS_SELDOM: Final = 5.0
"""The most that these seconds become when it can not be had."""
_GIVES_BACK: Final = 0.2
"""Seconds that it gets to give it back."""
_HANGS_UP: Final = 0.2
"""Seconds beyond the grace time after which it is waited for no client any more."""


class Server:
    """A server with its limits, on the running event loop.

    It is made of several of grpc.aio that share the ports. Each of these takes up its calls in the
    order they come, and each address meets one of them: a flood from one address has its own line.

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
        self._options = server_options(settings, max_message_size)
        self._certificates = certificates
        mutual = certificates is not None and certificates.mutual
        self._interceptors = [RefuseExpired()] if mutual else []
        self._connections = Connections(())
        self._guard = guard = Guard(
            health,
            most_connections=settings.max_connections,
            most_of_peer=settings.max_connections_per_peer,
            most_calls=None if mounted else settings.max_calls_per_peer,  # theirs may be many
            refusals=health.refusals,
        )
        self._handlers = (
            make_probe_handlers(health, guard.came)
            if probes_alone
            else make_handlers(
                health, smoke_test, mounted, settings=settings, stopping=self._stopping,
                came=guard.came,
            )
        )  # fmt: skip
        self._lanes = [self._make_lane(shared=False)]
        self._replacing = set[asyncio.Task[None]]()
        self._ended = set[grpc.aio.Server]()

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
        self._connections = Connections(self.addresses)
        if share(listeners := self._connections.listeners()):
            for _ in range(1, LANES + SPARES):
                self._lanes.append(self._bind_lane())
            steer(listeners)

    async def start(self) -> None:
        """Answer from now on."""
        async with self._starting:
            for number in range(len(self._lanes)):
                await self._start_lane(number)
        self._guard.start(self._connections)

    async def stop(self, grace: float | None) -> None:
        """Take no new calls and wait for those under way, at most `grace` seconds."""
        self._stopping.set()
        self._guard.stop()
        async with self._starting:  # or a stop in the midst of a start would crash the interpreter
            lanes = [lane for lane in self._lanes if lane not in self._ended]
        ended = asyncio.gather(*(_end(lane, grace) for lane in lanes), *self._replacing)
        await asyncio.wait([ended], timeout=(grace or 0.0) + _HANGS_UP)
        if not ended.done():  # one that takes no answers would keep it from the end of its call
            self._connections.close_all()
        await ended

    def _make_lane(self, *, shared: bool) -> grpc.aio.Server:
        options = [*self._options, ("grpc.so_reuseport", int(shared))]
        lane = grpc.aio.server(options=options, interceptors=self._interceptors)
        lane.add_generic_rpc_handlers(self._handlers)
        return lane

    async def _start_lane(self, number: int) -> None:
        """Start a lane, and see to it that another comes should it end before its time."""
        lane, found = self._lanes[number], list[asyncio.Task[None]]()
        with _next_task_in(found):  # the first of a server takes up its calls
            await lane.start()
        for task in found:
            task.add_done_callback(partial(self._lane_ended, number, lane))

    def _lane_ended(self, number: int, lane: grpc.aio.Server, task: "asyncio.Task[None]") -> None:
        if self._stopping.is_set() or self._lanes[number] is not lane:
            return
        if not task.cancelled() and task.exception() is not None:
            replacing = asyncio.create_task(self._replace(number))
            self._replacing.add(replacing)
            replacing.add_done_callback(self._replacing.discard)

    async def _replace(self, number: int) -> None:
        """Put another lane in the place of one that has ended.

        grpc.aio ends a server that gets a path which is not UTF-8; the calls on it would go on.
        """
        self._ended.add(old := self._lanes[number])
        ending = asyncio.create_task(_end(old, None))
        if number == 0:  # a unix socket, or a port that can not be shared, has to be given back
            await asyncio.wait([ending], timeout=_GIVES_BACK)
        pause = _BINDS_AGAIN
        while not await self._try_to_replace(number):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            pause = min(2 * pause, _BINDS_SELDOM)
        await ending
        self._ended.discard(old)

    async def _try_to_replace(self, number: int) -> bool:
        """Bind and start another lane; say whether it need not be tried again."""
        async with self._starting:
            if self._stopping.is_set():
                return True
            lane = self._make_lane(shared=len(self._lanes) > 1)
            try:
                self._bind_again(lane, with_unix=number == 0)
            except BindError:
                await lane.start()  # or what it has bound would never be given back
                await _end(lane, None)
                return False
            self._lanes[number] = lane
            self._guard.renew()
            await self._start_lane(number)
            return True

    def _bind_lane(self) -> grpc.aio.Server:
        """Make one more on the same ports."""
        lane = self._make_lane(shared=True)
        with contextlib.suppress(BindError):  # who would have met this one meets another
            self._bind_again(lane, with_unix=False)
        return lane

    def _bind_again(self, lane: grpc.aio.Server, *, with_unix: bool) -> None:
        """Take the addresses for one more lane; those of unix can not be shared."""
        for address in self.addresses:
            host, port = parse_listen(address)
            if port > 0:
                self._add_port(lane, address, address)
            elif with_unix:
                self._add_port(lane, address, f"unix:{host}")

    def _bind(self, address: str, places: list[str]) -> list[str]:
        (first,) = self._lanes
        host, port = parse_listen(address)
        if port < 0:
            self._add_port(first, address, f"unix:{host}")
            return [address]
        bound = []
        for place in places:
            # The second address of a name with port 0 gets the port of the first.
            port = self._add_port(first, address, f"{place}:{port}")
            bound.append(f"{place}:{port}")
        return bound

    def _add_port(self, lane: grpc.aio.Server, address: str, target: str) -> int:
        try:
            if self._certificates is None:
                return lane.add_insecure_port(target)
            return lane.add_secure_port(target, self._certificates.credentials())
        except RuntimeError:
            raise BindError(
                f"can not listen on {address}: it is taken, perhaps by another address in listen"
            ) from None


async def _end(lane: grpc.aio.Server, grace: float | None) -> None:
    """Stop a lane, also one that has ended by an error, or does so meanwhile."""
    try:
        await lane.stop(grace)
    except Exception:  # noqa: BLE001 -- it raises what has ended it, and then has not stopped yet
        await lane.stop(grace)


@contextlib.contextmanager
def _next_task_in(found: "list[asyncio.Task[None]]") -> Iterator[None]:
    """Have the next task of this event loop put into a list."""
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()

    def make(
        loop: asyncio.AbstractEventLoop,
        coro: Any,  # noqa: ANN401 -- what asyncio makes tasks of
        **options: Any,  # noqa: ANN401 -- and what else it gives
    ) -> "asyncio.Task[Any]":
        loop.set_task_factory(before)
        task: asyncio.Task[Any] = loop.create_task(coro, **options)
        found.append(task)
        return task

    loop.set_task_factory(make)
    try:
        yield
    finally:
        if not found:
            loop.set_task_factory(before)

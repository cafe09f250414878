"""Puts the rooms together into one service with a life: bind, warm up, serve, drain, stop."""

import asyncio
import contextlib
import logging
import secrets
from typing import Final, Self

from petsage_grpc.core.clock import Clock, LoopClock
from petsage_grpc.core.fold import make_rules
from petsage_grpc.core.monitor import Monitor
from petsage_grpc.core.names import Names
from petsage_grpc.core.units import format_duration
from petsage_grpc.rpc.convert import SMOKE_TEST_SERVICE
from petsage_grpc.rpc.health import HealthServicer
from petsage_grpc.rpc.server import Server
from petsage_grpc.rpc.smoke_test import SmokeTestServicer
from petsage_grpc.settings import Settings

__all__ = ["Service"]

_LAST_STEPS: Final = 1.5
"""Seconds of the grace time that are left for what follows the calls: checks and log lines."""

_log = logging.getLogger("petsage_grpc.service")


class Service:
    """The health service as the settings want it, on the running event loop.

    Used as an asynchronous context manager it listens inside of the block and is stopped at its
    end at once; `run` has the whole life with its drain.

    Args:
        settings: what is wanted.
        clock: tells the time, to the monitor as well.
    """

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
        clock = LoopClock() if clock is None else clock
        self._clock = clock
        self._stop_requested = asyncio.Event()
        self._stop_at_once = asyncio.Event()
        self._names = Names(clock.now)
        rules = make_rules(
            {name: check.policy.gates for name, check in settings.checks.items()},
            settings.groups,
            [SMOKE_TEST_SERVICE],
        )
        self._monitor = Monitor(
            {name: (check.check, check.policy) for name, check in settings.checks.items()},
            rules,
            self._names,
            clock,
            refresh_interval=settings.refresh_interval,
        )
        health = HealthServicer(
            self._names,
            max_watchers=settings.max_watchers,
            max_name_length=settings.max_name_length,
            send_timeout=settings.watch_send_timeout,
        )
        smoke_test = SmokeTestServicer(
            self._monitor,
            clock,
            message=settings.message,
            version=settings.version,
            instance=settings.instance or secrets.token_hex(4),
            with_details=settings.details == "always",
        )
        self._server = Server(
            health,
            smoke_test,
            reflection=settings.reflection,
            max_message_size=settings.max_message_size,
        )

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens, with the ports that were bound."""
        return self._server.addresses

    async def start(self) -> None:
        """Listen, and start the checks. Raises BindError when an address can not be had."""
        await self._server.start(self.settings.listen)
        self._monitor.start()

    def request_stop(self) -> None:
        """Begin to drain; asked a second time, stop at once."""
        if self._stop_requested.is_set():
            self._stop_at_once.set()
        self._stop_requested.set()

    async def run(self) -> None:
        """Serve until a stop is requested, then drain and stop within the grace time.

        Raises BindError when an address can not be had.
        """
        await self.start()
        self._introduce()
        await self._stop_requested.wait()
        started, settings = self._clock.now(), self.settings
        self._monitor.drain()
        _log.info(
            "draining: not ready any more, serving for %s", format_duration(settings.drain_delay)
        )
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop_at_once.wait(), settings.drain_delay)
        left = max(0.0, started + settings.grace - _LAST_STEPS - self._clock.now())
        await self.stop(left)
        _log.info("stopped")

    async def stop(self, grace: float = 0.0) -> None:
        """End the watchers, wait at most `grace` seconds for other calls, and end the checks.

        A stop that is requested meanwhile cuts the wait short.
        """
        self._names.close()
        graceful = asyncio.create_task(self._server.stop(grace))
        hurry = asyncio.create_task(self._stop_at_once.wait())
        await asyncio.wait([graceful, hurry], return_when=asyncio.FIRST_COMPLETED)
        if not graceful.done():
            await self._server.stop(None)
        hurry.cancel()
        await asyncio.wait([graceful, hurry])
        graceful.result()
        await self._monitor.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _introduce(self) -> None:
        """Say where it listens, what it checks and how to ask it."""
        for name, check in self.settings.checks.items():
            gates = ", ".join(check.policy.gates) or "nothing, it is only reported"
            every = format_duration(check.policy.interval)
            _log.info("check %s (%s) every %s gates %s", name, check.kind, every, gates)
        for address in self.addresses:
            _log.info("listening on %s", address)
        ask = self.addresses[0]
        _log.info("ask it: petsage-grpc smoke %s", ask)
        _log.info("ask it: grpcurl -plaintext %s grpc.health.v1.Health/Check", ask)
        _log.info("ask it: grpc_health_probe -addr=%s", ask)

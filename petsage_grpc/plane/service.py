"""Puts the rooms together into one service with a life: bind, warm up, serve, drain, stop."""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Self

from petsage_grpc.core.clock import Clock
from petsage_grpc.core.units import format_duration
from petsage_grpc.errors import SettingsError
from petsage_grpc.plane.plane import Plane
from petsage_grpc.rpc.server import Server
from petsage_grpc.settings import BadSettingError, Settings, fleet_risks

if TYPE_CHECKING:
    from petsage_grpc.plane.features import Feature

__all__ = ["Service", "mount"]

_LAST_STEPS: Final = 1.5
"""Seconds of the grace time that are left for what follows the calls: checks and log lines."""

_log = logging.getLogger("petsage_grpc.service")


def mount(settings: Settings) -> "Sequence[Feature]":
    """Mount all features there are, and make sure that each heartbeat has somebody who beats.

    Raises PackageError or SettingsError.
    """
    if settings.has_features:
        from petsage_grpc.plane.features import mount_features  # noqa: PLC0415 -- most have none

        return mount_features(settings)
    try:
        settings.refuse_unheard(())
    except BadSettingError as error:
        raise SettingsError(str(error)) from None
    return ()


class Service:
    """The health service as the settings want it, on the running event loop.

    Used as an asynchronous context manager it listens inside of the block and is stopped at its
    end at once; `run` has the whole life with its drain.

    Args:
        settings: what is wanted.
        clock: tells the time, to the monitor as well.
        features: what is mounted besides; those that are found if not given.

    Raises PackageError or SettingsError when a feature can not be mounted.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock | None = None,
        features: "Sequence[Feature] | None" = None,
    ) -> None:
        self.settings = settings
        self.features = mount(settings) if features is None else features
        """What has been mounted besides."""
        self.plane = plane = Plane(settings, clock, self.features)
        self.checks = plane.checks
        """All checks, those of the features too."""
        self.redact = plane.redact
        """Replaces what the checks hide in a text."""
        self._stop_requested = asyncio.Event()
        self._stop_at_once = asyncio.Event()
        self._server = Server(
            plane.health,
            plane.smoke_test,
            self.features,
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
        self.plane.monitor.start()

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
        started, settings = self.plane.clock.now(), self.settings
        self.plane.monitor.drain()
        _log.info(
            "draining: not ready any more, serving for %s", format_duration(settings.drain_delay)
        )
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop_at_once.wait(), settings.drain_delay)
        left = max(0.0, started + settings.grace - _LAST_STEPS - self.plane.clock.now())
        await self.stop(left)
        _log.info("stopped")

    async def stop(self, grace: float = 0.0) -> None:
        """End the watchers, wait at most `grace` seconds for other calls, and end the checks.

        A stop that is requested meanwhile cuts the wait short.
        """
        self.plane.names.close()
        graceful = asyncio.create_task(self._server.stop(grace))
        hurry = asyncio.create_task(self._stop_at_once.wait())
        await asyncio.wait([graceful, hurry], return_when=asyncio.FIRST_COMPLETED)
        if not graceful.done():
            await self._server.stop(None)
        hurry.cancel()
        await asyncio.wait([graceful, hurry])
        graceful.result()
        await self.plane.monitor.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _introduce(self) -> None:
        """Say where it listens, what it checks and how to ask it."""
        for feature in self.features:
            services = ", ".join(feature.service_names) or "no service"
            _log.info("%s serves %s", feature, services)
        for name, check in self.checks.items():
            gates = ", ".join(check.policy.gates) or "nothing, it is only reported"
            _log.info("check %s (%s) %s gates %s", name, check.kind, check.schedule, gates)
        for risk in fleet_risks(self.checks, self.settings.groups):
            _log.warning("%s", risk)
        for address in self.addresses:
            _log.info("listening on %s", address)
        ask = self.addresses[0]
        _log.info("ask it: petsage-grpc smoke %s", ask)
        _log.info("ask it: grpcurl -plaintext %s grpc.health.v1.Health/Check", ask)
        _log.info("ask it: grpc_health_probe -addr=%s", ask)

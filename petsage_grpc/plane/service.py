"""Puts the rooms together into one service with a life: bind, warm up, serve, drain, stop."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Self

from petsage_grpc.core.clock import Clock
from petsage_grpc.core.units import format_duration
from petsage_grpc.errors import SettingsError
from petsage_grpc.plane.introduction import ways_to_ask
from petsage_grpc.plane.plane import Plane
from petsage_grpc.rpc.server import Server
from petsage_grpc.rpc.tls import Certificates
from petsage_grpc.settings import BadSettingError, Settings
from petsage_grpc.settings_exposure import exposure_risks
from petsage_grpc.settings_fleet import fleet_risks
from petsage_grpc.settings_tokens import access_risks

if TYPE_CHECKING:
    from petsage_grpc.plane.features_server import FeaturesServer

__all__ = ["Service"]

_LAST_STEPS: Final = 2.0
"""Seconds of the grace time that are left for what follows the calls: checks and log lines."""

_PROBE_OPTION: Final = "the setting probe_listen (PETSAGE_PROBE_LISTEN)"
"""Where another address for probes could be chosen, for an error."""

_log = logging.getLogger("petsage_grpc.service")


class Service:
    """The health service as the settings want it, on the running event loop.

    Used as an asynchronous context manager it listens inside of the block and is stopped at its
    end at once; `run` has the whole life with its drain.

    Args:
        settings: what is wanted.
        clock: tells the time, to the monitor as well.
        hosted: serves the features besides, where there are some; they have been mounted.
        option: where another address to listen on could be chosen, for an error.

    Raises SettingsError when the files of TLS can not be used.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock | None = None,
        hosted: "FeaturesServer | None" = None,
        option: str = "--listen",
    ) -> None:
        self.settings = settings
        self._hosted = hosted
        self._option = option
        self.features = hosted.features if hosted is not None else ()
        """What is hosted besides."""
        more = hosted.checks if hosted is not None else {}
        self.plane = plane = Plane(settings, clock, self.features, more)
        self.checks = plane.checks
        """All checks, those of the features too."""
        self.redact = plane.redact
        """Replaces what the checks hide in a text."""
        self._stop_requested = asyncio.Event()
        self._stop_at_once = asyncio.Event()
        self._certificates = Certificates.of(settings) if hosted is None else hosted.certificates
        self._server = Server(
            plane.health,
            plane.smoke_test,
            settings=settings,
            max_message_size=settings.max_message_size,
            certificates=self._certificates,
        )
        self._servers = [self._server]
        self._probe_server: Server | None = None
        if settings.probe_listen:
            self._probe_server = Server(
                plane.health,
                settings=settings,
                max_message_size=settings.max_message_size,
                probes_alone=True,
            )
            self._servers.append(self._probe_server)

    @classmethod
    async def hosting(cls, settings: Settings) -> Self:
        """Make one that also hosts the features there are.

        Raises PackageError or SettingsError when one can not be mounted or nobody beats a
        heartbeat; BindError when an address for their services can not be had.
        """
        if settings.has_features:
            from petsage_grpc.plane.features_server import (  # noqa: PLC0415 -- most have none
                FeaturesServer,
            )

            hosted = FeaturesServer(settings)
            await hosted.mount()
            if hosted.features:
                return cls(settings, hosted=hosted)
            await hosted.stop(0.0, asyncio.Event())
        try:
            settings.refuse_unheard(())
        except BadSettingError as error:
            raise SettingsError(str(error)) from None
        return cls(settings)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens, with the ports that were bound."""
        return self._server.addresses

    @property
    def features_addresses(self) -> tuple[str, ...]:
        """Where the services of the features are served."""
        return self._hosted.addresses if self._hosted is not None else ()

    @property
    def probe_addresses(self) -> tuple[str, ...]:
        """Where Check alone is answered, without TLS."""
        return self._probe_server.addresses if self._probe_server is not None else ()

    async def start(
        self, take_up: Callable[[], object] | None = None, *, introduces: bool = False
    ) -> None:
        """Listen, and start the checks. Raises BindError when an address can not be had.

        Args:
            take_up: adds what else was declared; nobody is answered before.
            introduces: whether it says where it listens, what it checks and how to ask it.
        """
        try:
            self._bind()
            if introduces:  # the ports are bound: who connects now is answered in a moment
                self._introduce()
            self.plane.monitor.start()  # before a call is answered, or it would be told of no check
            if take_up is not None:
                take_up()
        except BaseException:
            self.plane.names.abandon()  # who asks meanwhile is told of nothing half taken in
            await self._serve()  # grpc gives back no port that has never been served
            await self._stop_servers(None)
            if self._hosted is not None:
                await self._hosted.stop(0.0, self._stop_at_once)
            raise
        await self._serve()
        if self._hosted is not None:
            self._hosted.begin(self.plane)

    def _bind(self) -> None:
        if self._probe_server is not None:
            self._probe_server.bind(self.settings.probe_listen, _PROBE_OPTION)
        self._server.bind(self.settings.listen, self._option)
        for risk in (*access_risks(self.settings), *exposure_risks(self.settings)):
            _log.warning("%s", risk)
        if self._certificates is not None:
            self._certificates.start()

    async def _serve(self) -> None:
        for server in self._servers:
            await server.start()

    def request_stop(self) -> None:
        """Begin to drain; asked a second time, stop at once."""
        if self._stop_requested.is_set():
            self._stop_at_once.set()
        self._stop_requested.set()

    async def run(self) -> None:
        """Serve until a stop is requested, then drain and stop within the grace time.

        Raises BindError when an address can not be had.
        """
        await self.start(introduces=True)
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

        The features' calls end first: as long as they last, the plane answers. A stop that is
        requested meanwhile cuts the wait short.
        """
        ends = self.plane.clock.now() + grace
        if self._hosted is not None:
            await self._hosted.stop(grace, self._stop_at_once)
        self.plane.names.close()
        left = max(0.0, ends - self.plane.clock.now())
        graceful = asyncio.create_task(self._stop_servers(left))
        hurry = asyncio.create_task(self._stop_at_once.wait())
        await asyncio.wait([graceful, hurry], return_when=asyncio.FIRST_COMPLETED)
        if not graceful.done():
            await self._stop_servers(None)
        hurry.cancel()
        await asyncio.wait([graceful, hurry])
        graceful.result()
        if self._certificates is not None:
            self._certificates.stop()
        await self.plane.monitor.stop()

    async def _stop_servers(self, grace: float | None) -> None:
        await asyncio.gather(*(server.stop(grace) for server in self._servers))

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
        for address in self.features_addresses:
            _log.info("the features listen on %s", address)
        for address in self.probe_addresses:
            _log.info("probes are answered on %s, without TLS", address)
        for command in ways_to_ask(self.addresses[0], self.settings, self._certificates):
            _log.info("ask it: %s", command)

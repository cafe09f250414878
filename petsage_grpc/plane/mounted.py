"""What an application with one port embeds: the same answers from its own grpc.aio server."""

import asyncio
import contextlib
import os
import weakref
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Self

from petsage_grpc.errors import PlaneError, SettingsError
from petsage_grpc.plane.embedded import EmbeddedPlane, load_embedded
from petsage_grpc.plane.loop_host import LoopHost
from petsage_grpc.plane.plane import Plane
from petsage_grpc.rpc.handlers import AioServer, make_handlers, mount_on
from petsage_grpc.settings import BadSettingError, Settings

__all__ = ["MountedPlane"]


class MountedPlane(EmbeddedPlane[LoopHost]):
    """The health service of a grpc.aio application, on the application's own server and port.

    The answers are those of `HealthPlane`; what is lost is that they are on time. What blocks the
    application's event loop, or fills its server, delays them too, and the limits of the server
    (sizes of messages, calls that wait, keepalive, TLS) are the application's. The setting `listen`
    means nothing here. Where a second port can be had, `HealthPlane` is the better choice.

        plane = MountedPlane.from_settings("petsage.toml")
        server = grpc.aio.server()
        plane.mount(server, services=("petsage.v1.Orders",))
        async with plane:
            await server.start()
            await told_to_stop.wait()
            plane.drain()
            await asyncio.sleep(plane.settings.drain_delay)
        await server.stop(grace)

    It is mounted once and has one life. Checks, heartbeats and words may be given before and while
    it runs, from any thread. Before the block nothing but liveness and, without checks that gate
    it, startup is SERVING; at its end all names but liveness are NOT_SERVING, watchers are told and
    ended, and the checks are stopped.

    Made by `from_settings`.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._plane: Plane | None = None

    @classmethod
    def from_settings(
        cls,
        path: str | os.PathLike[str] | None = None,
        **settings: Any,  # noqa: ANN401 -- values of any setting
    ) -> Self:
        """Make a plane of a settings file, variables PETSAGE_… over it, and keywords over both.

        Args:
            path: a TOML file; without one the defaults hold.
            settings: any setting by its name, as it would stand in the file.

        Raises SettingsError with one line that names the source, the key and the mend.
        """
        return cls(load_embedded(path, settings)[0])

    def mount(self, server: AioServer, services: Iterable[str] = ()) -> None:
        """Put the health service and the smoke test on a server, before that is started.

        A stock health servicer is not asked any more if it was on the server before, and refused
        with PlaneError if it comes after. With the setting `reflection` the server tells of all
        these and of `services`, unless the application has put reflection of its own on it.

        Args:
            server: a grpc.aio server of the event loop that runs.
            services: names of the application's services there; they answer as readiness does.

        Raises PlaneError when this has been mounted already, or another one there; SettingsError
        when one of the names is no service's.
        """
        if isinstance(services, str):
            raise TypeError(f"services is a list of names: [{services!r}]")
        told = tuple(dict.fromkeys(services))
        if self._plane is not None:
            raise PlaneError("the plane has been mounted already: make one for each server")
        if server in _taken:
            raise PlaneError("there is a plane on this server already: mount one")
        try:
            self._home = asyncio.get_running_loop()
        except RuntimeError:
            mend = "mount it in an async function, on the event loop of the server"
            raise PlaneError(f"no event loop runs: {mend}") from None
        names = tuple(dict.fromkeys((*self.settings.services, *told)))
        try:
            self.settings = replace(self.settings, services=names)
            # TLS is the application's: which clients it admits is not what these say.
            own = replace(self.settings, tls_cert="", tls_key="", tls_client_ca="", probe_listen=())
        except BadSettingError as error:
            raise SettingsError(str(error)) from None
        plane, self._stopping = Plane(own), asyncio.Event()
        handlers = make_handlers(
            plane.health,
            plane.smoke_test,
            told=told,
            settings=self.settings,
            stopping=self._stopping,
        )
        mount_on(server, plane.health, plane.smoke_test, handlers)
        _taken.add(server)
        self._plane = plane

    async def start(self) -> Self:
        """Start the checks.

        Raises PlaneError when it has not been mounted, or not here, or had its life.
        """
        plane = self._plane
        if plane is None:
            raise PlaneError("the plane has not been mounted: plane.mount(server) first")
        if asyncio.get_running_loop() is not self._home:
            raise PlaneError("the plane was mounted on another event loop: start it there")
        with self._lock:
            if self._host is not None or self._left:
                raise PlaneError("the plane runs, or has been stopped: make another one")
            host = LoopHost()
            host.connect(plane)
            plane.monitor.start()
            self._host = host
            self._tell_all(host, frozenset(), {})
            plane.begun = True
        return self

    async def stop(self, grace: float = 1.0) -> None:
        """End the watchers and the checks; a second time it does nothing.

        Args:
            grace: seconds that the watchers get to take their last answer: the server, stopped
                after that, cuts off who has not.
        """
        with self._lock:
            host, self._host = self._host, None
            if host is None or self._plane is None:
                return
            self._left = "it has been stopped: make another one"
        host.disconnect()
        self._stopping.set()
        self._plane.monitor.drain()
        self._plane.names.close()
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._plane.health.wait_for_nobody(), grace)
        finally:
            await self._plane.monitor.stop()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


_taken: "weakref.WeakSet[AioServer]" = weakref.WeakSet()
"""The servers that have a plane."""

"""Serves the features on an event loop, a thread and ports of their own, away from the plane."""

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final

from petsage_grpc.plane.features import FEATURES_CHECK, Feature, load_features
from petsage_grpc.plane.heartbeats import Heartbeat, beat_by_loop
from petsage_grpc.plane.mirror import Mirror
from petsage_grpc.plane.plane import Plane
from petsage_grpc.rpc.server import Server
from petsage_grpc.rpc.tls import Certificates
from petsage_grpc.settings import CheckSettings, Settings

__all__ = ["FeaturesServer"]

_LAST_WAIT: Final = 0.2
"""Seconds that a loop gets for what should take no time; one that is blocked is left behind."""

_OPTION: Final = "the setting features_listen (PETSAGE_FEATURES_LISTEN)"
"""Where another address to listen on could be chosen, for an error."""

_log = logging.getLogger("petsage_grpc.features")


class FeaturesServer:
    """The features with their server, on a thread of their own: what blocks it delays no answer.

    All but its thread belongs to the plane's loop.

    Args:
        settings: what is wanted.

    Raises SettingsError when the files of TLS can not be used.
    """

    def __init__(self, settings: Settings) -> None:
        self.certificates = Certificates.of(settings)
        """What is shown in TLS; those of the plane, too, which looks after them."""
        self.features: tuple[Feature, ...] = ()
        """What has been mounted."""
        self.checks: dict[str, CheckSettings] = {}
        """The heartbeat of their loop, where the settings have none."""
        self.addresses: tuple[str, ...] = ()
        """Where their services are served."""
        self._settings = settings
        self._mounted: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._beat: Heartbeat | None = None
        self._server: Server | None = None
        self._mirror: Mirror | None = None
        self._thread = threading.Thread(target=self._run, name="petsage features", daemon=True)

    async def mount(self) -> None:
        """Mount all features there are on their own loop, and take the ports of their services.

        Raises PackageError, SettingsError, or BindError when an address can not be had.
        """
        self._thread.start()
        await asyncio.wrap_future(self._mounted)

    def begin(self, plane: Plane) -> None:
        """Serve them from now on, and show the plane's names beside them."""
        if self._mirror is not None:
            self._mirror.begin(plane)
        self._call(self._serve)

    async def stop(self, grace: float, hurry: asyncio.Event) -> None:
        """End their calls within `grace` seconds, or at once when it is in a hurry; then the loop.

        A loop that is blocked is left behind.
        """
        if self._server is not None and not self._ended.done():
            await self._stop_server(self._server, grace, hurry)
        if self._mirror is not None:
            self._mirror.end()
        self._post(self._over.set)
        await _wait(asyncio.wrap_future(self._ended), _LAST_WAIT)
        if not self._ended.done():
            _log.error("the loop of the features did not end in time, and is left behind")

    async def _stop_server(self, server: Server, grace: float, hurry: asyncio.Event) -> None:
        if self._mirror is not None:
            self._post(self._mirror.names.close)
        ended = asyncio.wrap_future(self._ended)
        graceful = self._call(lambda: server.stop(grace))
        hurried = asyncio.ensure_future(hurry.wait())
        await _wait(graceful, grace + _LAST_WAIT, hurried, ended)
        hurried.cancel()
        if not graceful.done():
            await _wait(self._call(lambda: server.stop(None)), _LAST_WAIT, ended)

    def _run(self) -> None:
        try:
            # Twice: the end of the runner waits for threads of the features, and may fail too.
            with self._telling(), asyncio.Runner() as runner, self._telling():
                runner.run(self._live())
        finally:
            self._ended.set_result(None)

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Tell whoever waits for it, or else the plane, when the loop ends by an error."""
        try:
            yield
        except BaseException as error:  # noqa: BLE001 -- it is told
            if not self._mounted.done():
                self._mounted.set_exception(error)
                return
            _log.error("the loop of the features has ended: %r", error)
            if self._beat is not None:
                checks = {**self._settings.checks, **self.checks}
                for _ in range(checks[FEATURES_CHECK].policy.fall):  # no beat can follow
                    self._beat.fail(f"its event loop has ended: {error!r}")

    async def _live(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        self.features, self._beat, self.checks = load_features(self._settings)
        if self.features:
            self._bind()
        async with asyncio.TaskGroup() as self._calls:
            self._mounted.set_result(None)
            await self._over.wait()

    def _bind(self) -> None:
        if not any(feature.methods or feature.handlers for feature in self.features):
            return
        settings, self._mirror = self._settings, Mirror(self._settings)
        self._server = Server(
            self._mirror,
            mounted=self.features,
            settings=settings,
            max_message_size=settings.features_max_message_size,
            certificates=self.certificates,
        )
        self._server.bind(settings.features_listen, _OPTION)
        self.addresses = self._server.addresses

    async def _serve(self) -> None:
        if self._server is not None:
            await self._server.start()
        assert self._beat is not None
        beat_by_loop(self._beat, self._loop)  # the first beat says that calls are served

    def _call(self, call: Callable[[], Coroutine[Any, Any, None]]) -> "asyncio.Future[None]":
        """Run something on the features' loop; it is never done where that ends before."""
        done: concurrent.futures.Future[None] = concurrent.futures.Future()

        def begin() -> None:
            coroutine = call()
            try:
                task = self._calls.create_task(coroutine)
            except RuntimeError:  # it is ending
                coroutine.close()
            else:
                task.add_done_callback(lambda _: done.set_result(None))

        self._post(begin)
        return asyncio.wrap_future(done)

    def _post(self, call: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(call)


async def _wait(
    done: "asyncio.Future[None]", seconds: float, *others: "asyncio.Future[Any]"
) -> None:
    await asyncio.wait({done, *others}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)

"""Shows the plane's names on the event loop of the features: their clients ask on one port."""

import asyncio
import contextlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from petsage_grpc.core.clock import boot_time
from petsage_grpc.core.fold import Answer
from petsage_grpc.core.names import Names
from petsage_grpc.core.status import Status
from petsage_grpc.plane.plane import Plane
from petsage_grpc.rpc.health import HealthServicer
from petsage_grpc.rpc.hops import Metadata
from petsage_grpc.rpc.limits import Refusals
from petsage_grpc.settings import Settings

__all__ = ["Mirror"]

_SHOWN_EVERY: Final = 1.0
"""Seconds after which all is shown again, though nothing has changed."""
_BELIEVED: Final = 10.0
"""Seconds without news after which nothing is SERVING here: the plane's loop must be blocked."""
_HOP_WAITS: Final = 0.5
"""Seconds that the plane's loop has to answer; a caller must not wait for one that is blocked."""


class Mirror(HealthServicer):
    """Answers grpc.health.v1.Health as the plane does, on another event loop.

    It belongs to the loop that runs while it is made, and is only read there: the plane's loop
    posts what the names answer whenever that changes.

    Args:
        settings: the limits.
        refusals: counts how often a limit was reached.
    """

    def __init__(self, settings: Settings, refusals: Refusals | None = None) -> None:
        self.names = Names(boot_time)
        """What was posted."""
        super().__init__(
            self.names,
            max_watchers=settings.max_watchers,
            max_name_length=settings.max_name_length,
            max_watchers_per_peer=settings.max_watchers_per_peer,
            max_unknown_names=settings.max_unknown_names,
            send_timeout=settings.watch_send_timeout,
            refusals=refusals,
        )
        self._loop = asyncio.get_running_loop()
        self._plane: Plane | None = None
        self._planned = False
        self._newest: Mapping[str, Answer] = MappingProxyType({})
        self._posted = False

    def begin(self, plane: Plane) -> None:
        """Begin to show its names; on the plane's loop."""
        self._plane, self._home = plane, asyncio.get_running_loop()
        self.refusals = plane.refusals
        plane.names.changed = self._plan
        self._show_again()

    def end(self) -> None:
        """Show nothing more; on the plane's loop."""
        self._plane = None

    async def answer_hop(
        self, name: str, metadata: Metadata | None
    ) -> tuple[Status, tuple[tuple[str, str], ...]]:
        """Ask the plane on its own loop: only there can be told which checks do not count."""
        assert self._plane is not None
        asked = asyncio.run_coroutine_threadsafe(
            self._plane.health.answer_hop(name, metadata), self._home
        )
        try:
            return await asyncio.wait_for(asyncio.wrap_future(asked), _HOP_WAITS)
        except TimeoutError:
            known = name in self.names
            return (Status.NOT_SERVING if known else Status.SERVICE_UNKNOWN), ()

    def _plan(self) -> None:
        """Post once for all that changes in this moment."""
        if not self._planned:
            self._planned = True
            self._home.call_soon(self._post)

    def _show_again(self) -> None:
        if self._plane is not None:
            self._post()
            self._plane.clock.call_later(_SHOWN_EVERY, self._show_again)

    def _post(self) -> None:
        self._planned = False
        if self._plane is None:
            return
        now = boot_time()
        last, least = (
            now + _BELIEVED,
            now + 2 * _SHOWN_EVERY,
        )  # what is fresh is shown again by then
        self._newest = {
            name: Answer(answer.status, min(last, max(answer.fresh_until, least)))
            for name, answer in self._plane.names.read_answers().items()
        }
        if not self._posted:  # or they would pile up at a loop that is blocked
            self._posted = True
            with contextlib.suppress(RuntimeError):  # the loop of the features has ended
                self._loop.call_soon_threadsafe(self._take)

    def _take(self) -> None:
        self._posted = False  # first: what is posted from here on is taken by the next call
        answers = self._newest
        for name in self.names.read_all().keys() - answers.keys():
            self.names.drop(name)
        for name, answer in answers.items():
            self.names.put(name, answer)

"""The health names with their answers and their watchers: what Check reads and Watch waits on."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, Protocol, Self

from petsage_grpc.core.fold import LIVENESS, STARTUP, Answer
from petsage_grpc.core.status import Status
from petsage_grpc.core.words import Words

__all__ = ["Names", "NamesClosedError", "Source", "Watcher"]


_STAYING: Final = (LIVENESS, STARTUP)
"""The names that a drain leaves as they are."""


class Source(Protocol):
    """Knows what the names answer."""

    def answer(self, name: str, hops: frozenset[str]) -> Answer:
        """Say what a name answers now, without the checks that lead to one of these backends."""


class NamesClosedError(Exception):
    """Raised to a watcher when there is nothing more to watch: the service stops."""


class Watcher:
    """Follows a name: it takes the newest status, and what was not taken in time is never seen.

    Used as a context manager: it is forgotten when the block is left.
    """

    __slots__ = ("_names", "_taken", "_wakeup", "name")

    def __init__(self, names: "Names", name: str) -> None:
        self.name = name
        self._names = names
        self._taken: Status | None = None
        self._wakeup: asyncio.Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Stop following the name; it may be called more than once."""
        self._names._forget(self)

    async def next(self) -> Status:
        """Wait until the status differs from the one taken last, and take it.

        Raises NamesClosedError once the last status has been taken and there will be no other.
        """
        # Read when it is taken, not when it was put: it may have gone stale on the way.
        while (status := self._names.read(self.name)) is self._taken:
            if self._names.closed:
                raise NamesClosedError
            self._wakeup = asyncio.get_running_loop().create_future()
            try:
                await self._wakeup
            finally:
                self._wakeup = None
        self._taken = status
        return status

    def _wake(self) -> None:
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)


class Names:
    """Every health name, its answer and its watchers. Only the plane's loop may call it.

    A read never waits. A SERVING that has become too old is not told, even when the timer that
    should have turned it is late: its source is asked anew, which is a memory read too.

    Args:
        now: the monitor's clock, in seconds.
        words: what is said of the names, which overrides what is put here.
    """

    def __init__(self, now: Callable[[], float], words: Words | None = None) -> None:
        self.closed = False
        self.draining = False
        """Whether no word makes a name that drains SERVING any more."""
        self._abandoned = False
        self.source: Source | None = None
        """Who knows better once an answer is too old; without one it is NOT_SERVING then."""
        self.changed: Callable[[], None] = lambda: None
        """Told that a name may answer otherwise now."""
        self._now = now
        self._answers: dict[str, Answer] = {}
        self._watchers: dict[str, set[Watcher]] = {}
        self._words = words
        if words is not None:
            words.changed = self._wake

    def read(self, name: str, hops: frozenset[str] = frozenset()) -> Status:
        """Say what a name answers now; SERVICE_UNKNOWN when there is no such name.

        Args:
            name: the health name.
            hops: the backends that ask, for which the checks that lead to them do not count.
        """
        answer = self._answers.get(name)
        if answer is None:
            return Status.SERVICE_UNKNOWN
        if self._abandoned:
            return Status.NOT_SERVING
        if self._words:
            word = self._words.of(name)
            if word is not None and not (word.serving and self.draining and name not in _STAYING):
                return word.status
        return self.read_checks(name, hops)

    def read_checks(self, name: str, hops: frozenset[str] = frozenset()) -> Status:
        """Say what a registered name answers by its checks, whatever is said of it."""
        answer = self._answers[name]
        if hops and self.source is not None:
            return self.source.answer(name, hops).status
        if answer.status is Status.SERVING and self._now() >= answer.fresh_until:
            if self.source is None:
                return Status.NOT_SERVING
            answer = self.source.answer(name, hops)
            self.put(name, answer)
        return answer.status

    def read_all(self) -> dict[str, Status]:
        """Say what every registered name answers now."""
        return {name: self.read(name) for name in self._answers}

    def read_answers(self) -> dict[str, Answer]:
        """Say what every registered name answers now, and until when its checks vouch for it."""
        return {
            name: Answer(self.read(name), self._answers[name].fresh_until) for name in self._answers
        }

    def __len__(self) -> int:
        return len(self._answers)

    def __contains__(self, name: object) -> bool:
        return name in self._answers

    def drop(self, name: str) -> None:
        """Register a name no more."""
        if self._answers.pop(name, None) is not None:
            self._wake([name])

    def put(self, name: str, answer: Answer) -> None:
        """Register a name or renew its answer, and wake the watchers that have not seen it."""
        before, self._answers[name] = self._answers.get(name), answer
        if before is None or before.status is not answer.status:
            self.changed()
        for watcher in self._watchers.get(name, ()):
            if watcher._taken is not answer.status:
                watcher._wake()

    def watch(self, name: str) -> Watcher:
        """Follow a name, known or not, from its present status on."""
        watcher = Watcher(self, name)
        self._watchers.setdefault(name, set()).add(watcher)
        return watcher

    def abandon(self) -> None:
        """Answer NOT_SERVING for every name from now on: nobody is left to vouch for any."""
        self._abandoned = True
        self._wake([*self._watchers])

    def drain(self) -> None:
        """Let no word make a name SERVING any more that drains."""
        self.draining = True
        self._wake(self._watchers)

    def close(self) -> None:
        """Let every watcher take its last status and end."""
        self.closed = True
        self._wake(self._watchers)

    def _wake(self, names: Iterable[str]) -> None:
        self.changed()
        for name in names:
            for watcher in self._watchers.get(name, ()):
                watcher._wake()

    def _forget(self, watcher: Watcher) -> None:
        watchers = self._watchers.get(watcher.name, set())
        watchers.discard(watcher)
        if not watchers:  # or names that nobody registers would pile up
            self._watchers.pop(watcher.name, None)

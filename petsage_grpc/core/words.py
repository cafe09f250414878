"""What the application or an operator says of the names: it overrides their checks."""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from petsage_grpc.core.clock import Clock, Timer
from petsage_grpc.core.fold import OVERALL, READINESS
from petsage_grpc.core.status import Status

__all__ = ["MAX_WORDS", "Word", "Words"]

MAX_WORDS: Final = 1_000
"""Names of which something can be said at once."""

_FOREVER: Final = float("inf")

_log = logging.getLogger("petsage_grpc.words")


@dataclass(frozen=True, slots=True)
class Word:
    """What was said of a name."""

    name: str
    serving: bool
    reason: str
    """Why, for the log and authorised callers alone."""
    wall_time: float
    """When it was said, in seconds since 1970 (UTC)."""
    until: float = _FOREVER
    """The moment of the monitor's clock at which it has expired."""
    ttl: float | None = None
    """Seconds for which it holds; None for one without an end."""

    def __str__(self) -> str:
        why = f" ({self.reason})" if self.reason else ""
        return f"the word that {self.name!r} is {self.status.value}{why}"

    @property
    def status(self) -> Status:
        """What the name answers for it."""
        return Status.SERVING if self.serving else Status.NOT_SERVING


class Words:
    """The words that hold now: for each name the last one without end, and over it one with an end.

    Only the plane's loop may call it.

    Args:
        clock: tells the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lasting: dict[str, Word] = {}
        self._passing: dict[str, Word] = {}
        self._timers: dict[str, Timer] = {}
        self.followers: Collection[str] = (OVERALL,)
        """The names that do as readiness does, unless something is said of themselves."""
        self.changed: Callable[[Iterable[str]], None] = lambda _: None
        """Told which names may answer otherwise now."""
        self.revision = 0
        """Counts what has changed."""

    def __bool__(self) -> bool:
        return bool(self._lasting or self._passing)

    def __iter__(self) -> Iterator[Word]:
        """Give each word that holds now."""
        for name in dict.fromkeys((*self._lasting, *self._passing)):
            word = self._own(name)
            if word is not None:
                yield word

    def say(self, name: str, *, serving: bool, reason: str = "", ttl: float | None = None) -> None:
        """Take in a word, instead of all that was said before.

        One with an end stands over the last one without, which holds again after it.

        Raises ValueError when something is said of too many names.
        """
        name = READINESS if name == OVERALL else name
        known = self._lasting.keys() | self._passing.keys()
        if name not in known and len(known) >= MAX_WORDS:
            raise ValueError(f"something is said of {MAX_WORDS} names already: take one back")
        word = Word(name, serving, reason, self._clock.wall_time())
        self._forget(name)
        if ttl is None:
            self._lasting[name] = word
        else:
            word = replace(word, until=self._clock.now() + ttl, ttl=ttl)
            self._passing[name] = word
            self._timers[name] = self._clock.call_later(ttl, lambda: self._expire(word))
        self._tell(name)

    def take_back(self, name: str) -> None:
        """Forget all that was said of a name."""
        name = READINESS if name == OVERALL else name
        self._forget(name)
        self._lasting.pop(name, None)
        self._tell(name)

    def of(self, name: str) -> Word | None:
        """Give the word that holds for a name now."""
        word = self._own(name)
        return self._own(READINESS) if word is None and name in self.followers else word

    def close(self) -> None:
        """Drop the timers."""
        for name in [*self._passing]:
            self._forget(name)

    def _own(self, name: str) -> Word | None:
        word = self._passing.get(name)
        if word is not None and self._clock.now() < word.until:
            return word
        return self._lasting.get(name)

    def _forget(self, name: str) -> None:
        """Forget the word with an end."""
        self._passing.pop(name, None)
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def _expire(self, word: Word) -> None:
        self._forget(word.name)
        _log.info("%s has expired", word)
        self._tell(word.name)

    def _tell(self, name: str) -> None:
        self.revision += 1
        self.changed((name, *self.followers) if name == READINESS else (name,))

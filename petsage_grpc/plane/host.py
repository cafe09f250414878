"""What hosts a plane: the one thing that a thread and a process of its own have in common."""

from collections.abc import Callable, Mapping
from typing import Protocol

from petsage_grpc.settings import CheckSettings

__all__ = ["Hearer", "Host", "Said"]

Said = Mapping[str, tuple[bool, str]]
"""What was said of names for good: whether they are SERVING, and why."""


class Hearer(Protocol):
    """What hears an application's words to its plane. Any thread may call it, and nothing waits."""

    def add_check(self, name: str, made: CheckSettings) -> None:
        """Take in one more check."""

    def say(self, name: str, *, serving: bool, reason: str, ttl: float | None) -> None:
        """Say how a name is, whatever its checks say."""

    def take_back(self, name: str) -> None:
        """Forget what was said of a name."""

    def drain(self) -> None:
        """Turn every name but liveness NOT_SERVING."""

    def every(self, seconds: float, call: Callable[[], None]) -> None:
        """Call a function of this process, which must not block, in these intervals."""


class Host(Hearer, Protocol):
    """Where a plane runs that has a life of its own. Nothing waits but `start` and `stop`."""

    def start(self) -> tuple[str, ...]:
        """Listen, and start the checks; return where it listens.

        Raises BindError when an address can not be had.
        """

    def is_here(self) -> bool:
        """Say whether this thread is its own, which must not wait for its end."""

    def stop(self, grace: float) -> None:
        """Stop within the grace time, in seconds, and return when nothing is left."""

"""What a check is: the one method that every kind of check brings."""

import abc
from typing import ClassVar

__all__ = ["Check", "CheckFailedError"]


class CheckFailedError(Exception):
    """Raised by a check to say that what it checks does not work.

    The message is for the operator: it goes to the log and to authorised callers, never further.
    """


class Check(abc.ABC):
    """Asks one thing whether it works; the monitor says when, and what the answer means."""

    outside: ClassVar[bool] = True
    """Whether it reaches outside of its machine: such a check can not gate liveness."""

    doing: str = ""
    """What the present run is waiting for; the monitor names it when the run times out."""

    @abc.abstractmethod
    async def run(self) -> None:
        """Return when it works, raise when it does not (CheckFailedError, or any other exception).

        It is cancelled when its timeout is over. One that does not end then is quarantined: it is
        counted as failing and not started again until it ends.
        """

    async def close(self) -> None:  # noqa: B027 -- most checks hold nothing
        """Give back what the check holds; called once, after its last run."""

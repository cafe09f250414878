"""What a check is: the one method that every kind brings, or the reports that somebody makes."""

import abc
import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Final, Protocol

from petsage_grpc.core.text import redact

__all__ = ["Check", "CheckFailedError", "InLine"]

_HIDING: Final = threading.Lock()


class CheckFailedError(Exception):
    """Raised by a check to say that what it checks does not work.

    The message is for the operator: it goes to the log and to authorised callers, never further.
    """


class InLine(Protocol):
    """How a run says that it waits for its turn."""

    def __call__(self, *, waiting: bool) -> None:
        """Begin to wait, or end it."""


class Check(abc.ABC):
    """Asks one thing whether it works; the monitor says when, and what the answer means."""

    outside: ClassVar[bool] = True
    """Whether it reaches outside of its machine: such a check can not gate liveness."""

    in_application: ClassVar[bool] = False
    """Whether it looks at the application's own process, and means nothing in another one."""

    default_policy: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """What holds for a check of this kind, `gates` and so on, if nothing else is said."""

    doing: str = ""
    """What the present run is waiting for; the monitor names it when the run times out."""

    reaches: frozenset[str] = frozenset()
    """The backends that this check leads to, as far as they have told; cycles are noticed by it."""

    run_soon: Callable[[], None] = staticmethod(lambda: None)
    """Asks the monitor for a run now; for a check that hears by itself of a change.

    It may be called as often as one likes, from the event loop: the monitor starts at most one run
    in an `edge_interval` for it.
    """

    since: float = 0.0
    """When its first result began to be waited for, in seconds of the monitor's clock.

    0 for the moment at which the monitor begins with it.
    """

    in_line: "InLine" = staticmethod(lambda *, waiting: None)  # noqa: ARG005 -- as below
    """Tells the monitor that the run waits for its turn, or has got it: `in_line(waiting=True)`.

    For what is not the fault of what is checked, such as a busy pool; the timeout begins after it.
    """

    @abc.abstractmethod
    async def run(self) -> None:
        """Return when it works, raise when it does not (CheckFailedError, or any other exception).

        It is cancelled when its timeout is over. One that does not end then is quarantined: it is
        counted as failing and not started again until it ends.
        """

    async def close(self) -> None:  # noqa: B027 -- most checks hold nothing
        """Give back what the check holds; called once, after its last run."""

    def hide(self, secret: str, shown: str = "***") -> None:
        """Have a text, such as a password or a URL, replaced in whatever is said of this check."""
        if not isinstance(secret, str):
            raise TypeError("only a text can be hidden")
        if not secret:
            return
        with _HIDING:  # or two at once would forget one
            self.secrets = {**self.secrets, secret: shown}

    secrets: dict[str, str] = {}  # noqa: RUF012 -- never changed, but replaced
    """What has been hidden, and what is shown in its place."""

    def redact(self, text: str) -> str:
        """Replace what has been hidden in a text."""
        return redact(text, self.secrets)

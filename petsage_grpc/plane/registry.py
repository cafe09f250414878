"""Takes in checks and heartbeats from code: those of a feature, and those of an application."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from petsage_grpc.checks import kind_of
from petsage_grpc.checks.heartbeat import HeartbeatCheck
from petsage_grpc.core.check import Check
from petsage_grpc.core.text import plain
from petsage_grpc.core.units import to_seconds
from petsage_grpc.errors import SettingsError
from petsage_grpc.plane.heartbeats import Heartbeat
from petsage_grpc.settings import CheckSettings
from petsage_grpc.settings_load import make_policy, refuse_timing
from petsage_grpc.settings_references import at

__all__ = ["Registry", "plain_setting"]

_Function = TypeVar("_Function", bound=Callable[[], Awaitable[bool | None] | bool | None])


def plain_setting(value: Any) -> Any:  # noqa: ANN401 -- as many types as settings
    """Make a setting of plain texts: another process does not know the application's classes."""
    if isinstance(value, str):
        return plain(value)
    if type(value) is dict:
        return {plain_setting(key): plain_setting(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return [plain_setting(item) for item in value]
    return value


class Registry:
    """What has checks of its own: they are declared, and taken in at once.

    Args:
        configured: the checks of the settings, whose heartbeats may be beaten.
        log_level: least level that is logged.
    """

    def __init__(self, configured: Mapping[str, CheckSettings], log_level: str) -> None:
        self.checks: dict[str, CheckSettings] = {}
        """Its own checks."""
        self.beaten: dict[str, Heartbeat] = {}
        """The heartbeats of the settings that it beats."""
        self._configured = configured
        self._log_level = log_level

    def check(self, name: str, **policy: Any) -> Callable[[_Function], _Function]:  # noqa: ANN401
        """Make a function without arguments a check; it fails when it raises or returns False.

        One that is async runs on the event loop on which it is declared, and where none runs then,
        on that of the plane. One that is not runs on a thread of its own.

        Args:
            name: the name of the check.
            policy: `interval`, `timeout`, `gates` and so on, as in the settings.
        """

        def add(function: _Function) -> _Function:
            from petsage_grpc.checks.python import (  # noqa: PLC0415 -- only if used
                FunctionCheck,
                require_function,
            )

            require_function(function, f"check {name}")
            self._add(name, "python", FunctionCheck(function), policy)
            return function

        return add

    def add_check(self, name: str, check: Check, **policy: Any) -> None:  # noqa: ANN401
        """Add a check of any kind; `policy` is `interval`, `gates` and so on as in the settings."""
        if not isinstance(check, Check):
            raise TypeError(f"check {name} is no petsage_grpc.Check: {type(check).__name__}")
        if getattr(getattr(check, "__dataclass_params__", None), "frozen", False):
            raise TypeError(f"check {name} is frozen, but the monitor has to tell it things")
        self._add(name, kind_of(check), check, policy)

    def heartbeat(
        self,
        name: str,
        *,
        max_silence: float | str = 10.0,
        **policy: Any,  # noqa: ANN401 -- as many types as settings
    ) -> Heartbeat:
        """Add a check that fails when what is returned has not been called for long.

        Where the settings have a heartbeat of this name, that one is beaten, and they hold.

        Args:
            name: the name of the check.
            max_silence: seconds, or a duration like "10s"; it has to be called more often.
            policy: `gates` and so on, as in the settings; readiness, liveness and startup need it
                if nothing else is said.
        """
        self._require_open()
        name = plain(name)
        if name in self._configured:
            configured = self._configured[name].check
            if not isinstance(configured, HeartbeatCheck):
                raise ValueError(f"the settings have a check {name!r}, which is no heartbeat")
            beat = Heartbeat(name, configured)
            if self.beaten.setdefault(name, beat) is not beat:
                raise ValueError(f"the heartbeat {name!r} is beaten already: name one otherwise")
            return beat
        refuse_timing(HeartbeatCheck, policy)
        check = HeartbeatCheck(max_silence=to_seconds(max_silence, "max_silence"))
        self.add_check(name, check, **policy)
        return Heartbeat(name, check)

    def configure(self, configured: Mapping[str, CheckSettings]) -> None:
        """Beat the heartbeats of new settings from now on.

        Raises SettingsError when they do not go with what was taken in.
        """
        for name in self.checks.keys() & configured.keys():
            raise SettingsError(f"checks.{name}: the application has a check {name!r}: rename one")
        for name in self.beaten:
            check = configured[name].check if name in configured else None
            if not isinstance(check, HeartbeatCheck):
                raise SettingsError(f"checks.{name}: the application beats it: make it a heartbeat")
        for name, beat in self.beaten.items():
            check = configured[name].check
            assert isinstance(check, HeartbeatCheck)
            beat.tell(check)
        self._configured = configured

    def _add(self, name: str, kind: str, check: Check, policy: Mapping[str, Any]) -> None:
        self._require_open()
        name, policy = plain(name), plain_setting(policy)
        self._refuse_second(name)
        with at("checks"), at(name):
            made = CheckSettings(kind, check, make_policy(policy, check))
        made.refuse_nonsense(name, self._log_level)
        self._take_in(name, made)

    def _refuse_second(self, name: str) -> None:
        if name in self.checks:
            raise ValueError(f"there are two checks {name!r}: name one of them otherwise")

    def _take_in(self, name: str, made: CheckSettings) -> None:
        self.checks[name] = made

    def _require_open(self) -> None:
        """Raise an error when nothing more is taken in."""

"""The settings: all there is to set, with its default, as plain values that are checked at once."""

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Self

from petsage_grpc import __version__
from petsage_grpc.checks import load_kind
from petsage_grpc.core.check import Check
from petsage_grpc.core.fold import LIVENESS, OVERALL, READINESS, STARTUP
from petsage_grpc.core.policy import Policy
from petsage_grpc.core.units import Duration, Size, format_duration

__all__ = [
    "DETAILS", "LOG_LEVELS", "MAX_PORT",
    "BadSettingError", "CheckSettings", "Settings", "dotted", "parse_listen",
]  # fmt: skip

DETAILS: Final = ("never", "always")
LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
MAX_PORT: Final = 65535
_RESERVED: Final = (OVERALL, READINESS, LIVENESS, STARTUP)
_CHECK_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_MESSAGE_LIMIT: Final = 2**31  # grpc keeps the size of a message in a signed int


def _help(text: str) -> dict[str, str]:
    return {"help": text}


def dotted(key: tuple[str, ...]) -> str:
    """Write the full path of a setting as TOML does: ``checks."orders.db".interval``."""
    return ".".join(
        part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else json.dumps(part, ensure_ascii=False)
        for part in key
    )


class BadSettingError(ValueError):
    """A setting makes no sense.

    Args:
        text: what is wrong, and the mend, without the key.
        key: the full path of the setting.
        other: when two settings contradict each other, the same said of the other one.
    """

    def __init__(self, text: str, *key: str, other: Self | None = None) -> None:
        super().__init__(f"{dotted(key)}: {text}")
        self.text = text
        self.key = key
        self.other = other


@dataclass(frozen=True, slots=True)
class CheckSettings:
    """One check: its kind, the check itself as its settings made it, and its policy."""

    kind: str
    check: Check
    policy: Policy


def _default_checks() -> Mapping[str, CheckSettings]:
    return MappingProxyType(
        {kind: CheckSettings(kind, load_kind(kind)(), Policy()) for kind in ("disk", "log")}
    )


def parse_listen(address: str) -> tuple[str, int]:
    """Split an address to listen on into its host and port; a unix socket's port is -1.

    Raises ValueError, saying what is wrong, when it is none.
    """
    if address.startswith("unix:"):
        path = address.removeprefix("unix:").removeprefix("//")
        if not path:
            raise ValueError(f'{address!r} names no socket: write it like "unix:/run/petsage.sock"')
        return path, -1
    host, colon, port = address.rpartition(":")
    example = 'write it like "127.0.0.1:50051", "[::1]:50051" or "unix:/run/petsage.sock"'
    if not colon or not port:
        raise ValueError(f"{address!r} has no port: {example}")
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > MAX_PORT:
        raise ValueError(f"{address!r} has no port from 0 to {MAX_PORT}: {example}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError(f"{address!r} is no IPv6 address and port: {example}") from None
    elif not host or ":" in host:
        raise ValueError(f"{address!r} is no host and port: {example}")
    return host, int(port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of the service. Durations are seconds, sizes bytes.

    Raises BadSettingError when one makes no sense.
    """

    listen: tuple[str, ...] = field(
        default=("127.0.0.1:50051",), metadata=_help("addresses to listen on; port 0 takes any")
    )
    drain_delay: Duration = field(
        default=Duration(5.0), metadata=_help("calls are still served so long after SIGTERM")
    )
    grace: Duration = field(
        default=Duration(25.0), metadata=_help("the process ends at most so long after SIGTERM")
    )
    message: str = field(
        default="PetSage Backend is awake and purring!",
        metadata=_help("what the smoke test says when all is well"),
    )
    version: str = field(
        default=__version__, metadata=_help("the version that the smoke test reports")
    )
    instance: str = field(
        default="", metadata=_help("tells this process from others; by chance if empty")
    )
    details: str = field(
        default="never",
        metadata=_help('whether the smoke test says why a check fails: "never" or "always"'),
    )
    refresh_interval: Duration = field(
        default=Duration(1.0),
        metadata=_help("callers with a max_age cause a run of a check at most so often"),
    )
    reflection: bool = field(
        default=True, metadata=_help("let grpcurl and others ask which services there are")
    )
    log_level: str = field(
        default="INFO", metadata=_help("least level that is logged: " + ", ".join(LOG_LEVELS))
    )
    max_watchers: int = field(
        default=20_000, metadata=_help("Watch calls at once; one more is RESOURCE_EXHAUSTED")
    )
    watch_send_timeout: Duration = field(
        default=Duration(10.0), metadata=_help("a watcher that takes no update so long is evicted")
    )
    max_name_length: Size = field(
        default=Size(1024),
        metadata=_help("bytes in a health name; a longer one is INVALID_ARGUMENT"),
    )
    max_message_size: Size = field(
        default=Size(16 * 1024),
        metadata=_help("bytes in a request; a larger one is RESOURCE_EXHAUSTED"),
    )
    checks: Mapping[str, CheckSettings] = field(
        default_factory=_default_checks, metadata=_help("one table for each check")
    )
    groups: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: MappingProxyType({}),
        metadata=_help("names that are SERVING when all the listed checks pass"),
    )

    def __post_init__(self) -> None:
        self._check_listen()
        self._check_limits()
        self._check_checks()
        self._check_groups()

    def _check_listen(self) -> None:
        if not self.listen:
            raise BadSettingError(
                'at least one address is needed, like "127.0.0.1:50051"', "listen"
            )
        parsed = set()
        for address in self.listen:
            try:
                place = parse_listen(address)
            except ValueError as error:
                raise BadSettingError(str(error), "listen") from None
            if place in parsed:
                raise BadSettingError(f"{address!r} is listed twice: remove one", "listen")
            parsed.add(place)

    def _check_limits(self) -> None:
        for name in ("watch_send_timeout", "max_watchers", "max_name_length", "max_message_size"):
            if not getattr(self, name) > 0:
                raise BadSettingError("must be more than 0", name)
        for name in ("max_name_length", "max_message_size"):
            if getattr(self, name) >= _MESSAGE_LIMIT:
                raise BadSettingError("must be less than 2GiB", name)
        self._check_exceeds("grace", "drain_delay")
        self._check_exceeds("max_message_size", "max_name_length")
        for name, allowed in (("details", DETAILS), ("log_level", LOG_LEVELS)):
            value = getattr(self, name)
            if value not in allowed:
                raise BadSettingError(f"{value!r} is none of {', '.join(allowed)}", name)

    def _check_exceeds(self, larger: str, smaller: str) -> None:
        more, less = getattr(self, larger), getattr(self, smaller)
        if more <= less:
            show = format_duration if isinstance(more, float) else str
            raise BadSettingError(
                f"must be more than {smaller} ({show(less)})",
                larger,
                other=BadSettingError(f"must be less than {larger} ({show(more)})", smaller),
            )

    def _check_checks(self) -> None:
        for name, settings in self.checks.items():
            if not _CHECK_NAME.fullmatch(name):
                raise BadSettingError(
                    "is no name for a check: write at most 63 letters, digits, '.', '_' and '-',"
                    " a letter or digit first",
                    "checks",
                    name,
                )
            if LIVENESS in settings.policy.gates and settings.check.outside:
                raise BadSettingError(
                    "a check that reaches outside can not gate liveness: it would restart every"
                    " replica when the dependency dies",
                    "checks",
                    name,
                    "gates",
                )
            if settings.kind == "log" and self.log_level not in ("DEBUG", "INFO"):
                raise BadSettingError(
                    f"{self.log_level} swallows the line that the check {name!r} writes at INFO:"
                    " set it to INFO, or list checks without that one",
                    "log_level",
                )

    def _check_groups(self) -> None:
        for name, checks in self.groups.items():
            if name in _RESERVED:
                raise BadSettingError(
                    "the service sets this name itself: choose another", "groups", name
                )
            if not checks:
                raise BadSettingError("needs at least one check", "groups", name)
            if len(name.encode()) > self.max_name_length:
                raise BadSettingError(
                    f"is longer than max_name_length = {self.max_name_length} bytes",
                    "groups",
                    name,
                )
            for check in checks:
                if check not in self.checks:
                    there_are = ", ".join(self.checks) or "none"
                    raise BadSettingError(
                        f"there is no check {check!r}; there are: {there_are}", "groups", name
                    )

"""The settings: all there is to set, with its default, as plain values that are checked at once."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Self

from petsage_grpc import __version__
from petsage_grpc.checks import load_kind
from petsage_grpc.core.check import Check
from petsage_grpc.core.fold import LIVENESS, OVERALL, READINESS, STARTUP
from petsage_grpc.core.hops import is_backend
from petsage_grpc.core.passive import PassiveCheck
from petsage_grpc.core.policy import Policy
from petsage_grpc.core.units import Duration, Size, format_duration
from petsage_grpc.installed import FEATURES, installed
from petsage_grpc.settings_listen import parse_listen

__all__ = [
    "DETAILS", "LOG_LEVELS", "MAX_HISTORY", "RESERVED_NAMES", "BadSettingError",
    "CheckSettings", "FeatureSettings", "Settings", "dotted", "require_checks",
]  # fmt: skip

DETAILS: Final = ("never", "always")
LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
MAX_HISTORY: Final = 1000
RESERVED_NAMES: Final = (OVERALL, READINESS, LIVENESS, STARTUP)
"""The health names that the service sets itself."""

_CHECK_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_MESSAGE_LIMIT: Final = 2**31  # grpc keeps the size of a message in a signed int


def _help(text: str) -> dict[str, str]:
    return {"help": text}


def dotted(key: tuple[str, ...]) -> str:
    """Write the full path of a setting as TOML does: ``checks."orders.db".interval``."""
    import json  # noqa: PLC0415 -- only a mistake needs it

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

    @property
    def schedule(self) -> str:
        """When it is asked, in words."""
        if isinstance(self.check, PassiveCheck):
            return f"is heard of within {format_duration(self.check.max_silence)}, and"
        return f"every {format_duration(self.policy.interval)}"

    def refuse_nonsense(self, name: str, log_level: str) -> None:
        """Raise BadSettingError when it can not be a check of this name."""
        if not _CHECK_NAME.fullmatch(name):
            raise BadSettingError(
                "is no name for a check: write at most 63 letters, digits, '.', '_' and '-',"
                " a letter or digit first",
                "checks",
                name,
            )
        if LIVENESS in self.policy.gates and self.check.outside:
            raise BadSettingError(
                "a check that reaches outside can not gate liveness: it would restart every"
                " replica when the dependency dies",
                "checks",
                name,
                "gates",
            )
        if self.kind == "log" and log_level not in ("DEBUG", "INFO"):
            raise BadSettingError(
                f"{log_level} swallows the line that the check {name!r} writes at INFO:"
                " set it to INFO, or list checks without that one",
                "log_level",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSettings:
    """What the settings say of a feature."""

    message: str = field(
        default="", metadata=_help("what its smoke test says when all is well; its own if empty")
    )
    checks: tuple[str, ...] = field(
        default=(), metadata=_help("checks of the settings that it depends on, besides its own")
    )


def require_checks(names: Collection[str], known: Collection[str], *key: str) -> None:
    """Raise BadSettingError when one of the names is no check's."""
    for name in names:
        if name not in known:
            there_are = ", ".join(known) or "none"
            raise BadSettingError(f"there is no check {name!r}; there are: {there_are}", *key)


def _default_checks() -> Mapping[str, CheckSettings]:
    return MappingProxyType(
        {kind: CheckSettings(kind, load_kind(kind)(), Policy()) for kind in ("disk", "log")}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of the service. Durations are seconds, sizes bytes.

    Raises BadSettingError when one makes no sense.
    """

    listen: tuple[str, ...] = field(
        default=("127.0.0.1:50051",), metadata=_help("addresses to listen on; port 0 takes any")
    )
    features_listen: tuple[str, ...] = field(
        default=("127.0.0.1:50052",),
        metadata=_help(
            "addresses on which the services of the features listen, where there are some"
        ),
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
    backend: str = field(
        default="",
        metadata=_help(
            "name that all replicas share, by which cycles of services that check each other are"
            " noticed; the instance if empty"
        ),
    )
    details: str = field(
        default="never",
        metadata=_help('whether the smoke test says why a check fails: "never" or "always"'),
    )
    refresh_interval: Duration = field(
        default=Duration(1.0),
        metadata=_help("callers with a max_age cause a run of a check at most so often"),
    )
    history: int = field(
        default=16, metadata=_help(f"times of turning kept of each check, up to {MAX_HISTORY}")
    )
    max_threads: int = field(default=64, metadata=_help("threads for checks that block"))
    services: tuple[str, ...] = field(
        default=(), metadata=_help("names of services that answer as readiness does")
    )
    max_silence: Duration = field(
        default=Duration(10.0),
        metadata=_help(
            "time without a word from the application's process, or from the loop of the features,"
            " that is still no failure"
        ),
    )
    switch_interval: Duration = field(
        default=Duration(0.0005),
        metadata=_help(
            "longest time for which a busy thread of the application, or of a feature, keeps the"
            " interpreter from a plane in its process; 0 leaves Python's"
        ),
    )
    features_package: str = field(
        default="",
        metadata=_help("package whose modules are features, each that exposes mount"),
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
    features_max_message_size: Size = field(
        default=Size(4 * 1024**2),
        metadata=_help("bytes in a request to a feature; a larger one is RESOURCE_EXHAUSTED"),
    )
    checks: Mapping[str, CheckSettings] = field(
        default_factory=_default_checks, metadata=_help("one table for each check")
    )
    groups: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: MappingProxyType({}),
        metadata=_help("names that are SERVING when all the listed checks pass"),
    )
    features: Mapping[str, FeatureSettings] = field(
        default_factory=lambda: MappingProxyType({}),
        metadata=_help("one table for each feature of which there is something to say"),
    )

    def __post_init__(self) -> None:
        self._check_listen()
        self._check_limits()
        self._check_checks()
        self._check_groups()
        self._check_features()

    def _check_listen(self) -> None:
        places = {key: self._places(key) for key in ("listen", "features_listen")}
        for place, address in places["features_listen"].items():
            if place in places["listen"] and place[1] != 0 and self.has_features:
                raise BadSettingError(
                    f"{address!r} stands in listen: choose another port",
                    "features_listen",
                    other=BadSettingError(f"{address!r} stands in features_listen too", "listen"),
                )

    def _places(self, key: str) -> dict[tuple[str, int], str]:
        """Say where a setting wants us to listen, with the address that says so."""
        if not getattr(self, key):
            raise BadSettingError('at least one address is needed, like "127.0.0.1:50051"', key)
        places: dict[tuple[str, int], str] = {}
        for address in getattr(self, key):
            try:
                place = parse_listen(address)
            except ValueError as error:
                raise BadSettingError(str(error), key) from None
            if place in places:
                raise BadSettingError(f"{address!r} is listed twice: remove one", key)
            places[place] = address
        return places

    def _check_limits(self) -> None:
        for name in (
            "watch_send_timeout", "max_watchers", "max_name_length", "max_message_size",
            "features_max_message_size", "max_threads", "max_silence",
        ):  # fmt: skip
            if not getattr(self, name) > 0:
                raise BadSettingError("must be more than 0", name)
        if not 0 <= self.history <= MAX_HISTORY:
            raise BadSettingError(f"must be from 0 to {MAX_HISTORY}", "history")
        for name in ("max_name_length", "max_message_size", "features_max_message_size"):
            if getattr(self, name) >= _MESSAGE_LIMIT:
                raise BadSettingError("must be less than 2GiB", name)
        self._check_exceeds("grace", "drain_delay")
        self._check_exceeds("max_message_size", "max_name_length")
        for name, allowed in (("details", DETAILS), ("log_level", LOG_LEVELS)):
            value = getattr(self, name)
            if value not in allowed:
                raise BadSettingError(f"{value!r} is none of {', '.join(allowed)}", name)

        if self.backend and not is_backend(self.backend):
            raise BadSettingError(
                f"{self.backend!r} is no name: write at most 64 letters, digits, '.', '_' and '-'",
                "backend",
            )

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
            settings.refuse_nonsense(name, self.log_level)

    def _check_groups(self) -> None:
        for name, checks in self.groups.items():
            if name in RESERVED_NAMES:
                raise BadSettingError(
                    "the service sets this name itself: choose another", "groups", name
                )
            if not checks:
                raise BadSettingError("needs at least one check", "groups", name)
            if len(name.encode()) > self.max_name_length:
                limit = f"max_name_length = {self.max_name_length} bytes"
                raise BadSettingError(f"is longer than {limit}", "groups", name)
            if not self.has_features:  # else it may be one of theirs: seen when they are mounted
                require_checks(checks, self.checks, "groups", name)

        for name in self.services:
            if not name or name in RESERVED_NAMES:
                raise BadSettingError(f"{name!r} is no service: remove it", "services")

    def refuse_unheard(self, heard: Collection[str]) -> None:
        """Raise BadSettingError for a passive check that nobody will report."""
        for name, settings in self.checks.items():
            if isinstance(settings.check, PassiveCheck) and name not in heard:
                mend = f"let a feature call feature.heartbeat({name!r}), or remove it"
                raise BadSettingError(f"nobody beats: {mend}", "checks", name)

    def _check_features(self) -> None:
        for name, feature in self.features.items():
            require_checks(feature.checks, self.checks, "features", name, "checks")

    @property
    def has_features(self) -> bool:
        """Whether there may be features, those of installed packages too."""
        return bool(self.features_package or self.features or installed(FEATURES))

"""The settings: all there is to set, with its default, as plain values that are checked at once."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from petsage_grpc import __version__
from petsage_grpc.checks import load_kind
from petsage_grpc.core.fold import LIVENESS, OVERALL, READINESS, STARTUP
from petsage_grpc.core.hops import is_backend
from petsage_grpc.core.passive import PassiveCheck
from petsage_grpc.core.policy import Policy
from petsage_grpc.core.units import Duration, Size, format_duration
from petsage_grpc.installed import FEATURES, installed
from petsage_grpc.settings_listen import parse_listen
from petsage_grpc.settings_parts import (
    BadSettingError,
    CheckSettings,
    FeatureSettings,
    dotted,
    require_checks,
)
from petsage_grpc.settings_tls import refuse_tls_halves

__all__ = [
    "DETAILS", "LOG_LEVELS", "MAX_HISTORY", "RESERVED_NAMES", "BadSettingError",
    "CheckSettings", "FeatureSettings", "Settings", "dotted", "require_checks",
]  # fmt: skip

DETAILS: Final = ("never", "authorized", "always")
LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
MAX_HISTORY: Final = 1000
RESERVED_NAMES: Final = (OVERALL, READINESS, LIVENESS, STARTUP)
"""The health names that the service sets itself."""

_LEAST_HEADERS: Final = 1024
_MESSAGE_LIMIT: Final = 2**31  # grpc keeps the size of a message in a signed int


def _help(text: str) -> dict[str, str]:
    return {"help": text}


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
    probe_listen: tuple[str, ...] = field(
        default=(),
        metadata=_help(
            "addresses without TLS where Check alone is answered: the kubelet's probe speaks none"
        ),
    )
    tls_cert: str = field(
        default="",
        metadata=_help("PEM file with the server's certificate and its chain; empty is no TLS"),
    )
    tls_key: str = field(default="", metadata=_help("PEM file with the key of tls_cert"))
    tls_client_ca: str = field(
        default="",
        metadata=_help("PEM file with certificates: a client needs one that they have signed"),
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
        default="authorized",
        metadata=_help(
            'who is told why a check fails, and when it has turned: "never" is nobody, "always" is'
            ' everybody, "authorized" those with a token or a client certificate'
        ),
    )
    token_files: tuple[str, ...] = field(
        default=(),
        metadata=_help("files with bearer tokens, one a line, each of which authorizes"),
    )
    client_names: tuple[str, ...] = field(
        default=(),
        metadata=_help(
            "names in client certificates that authorize; if empty, each that tls_client_ca admits"
        ),
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
        default=Duration(0.0002),
        metadata=_help(
            "longest time for which a busy thread of the application, or of a feature, keeps the"
            " interpreter from a plane in its process while that has something to do; 0 leaves"
            " Python's"
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
    max_watchers_per_peer: int = field(
        default=10_000, metadata=_help("of these from one address; likewise")
    )
    max_unknown_names: int = field(
        default=10_000,
        metadata=_help(
            "names that nobody knows and that are watched, half of them from one address;"
            " one more is RESOURCE_EXHAUSTED"
        ),
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
    max_header_size: Size = field(
        default=Size(16 * 1024),
        metadata=_help("bytes in the headers of a call; larger ones are RESOURCE_EXHAUSTED"),
    )
    max_concurrent_streams: int = field(
        default=1000, metadata=_help("calls at once on a connection; the client keeps one more")
    )
    max_connections: int = field(
        default=10_000, metadata=_help("connections at once; one more is closed")
    )
    max_connections_per_peer: int = field(
        default=1000, metadata=_help("of these from one address; the newest is closed")
    )
    max_calls_per_peer: int = field(
        default=1000,
        metadata=_help("calls under way from one address; its connections with most are closed"),
    )
    max_pending_calls: int = field(
        default=10_000, metadata=_help("calls that have come and wait; one more is refused")
    )
    max_connection_idle: Duration = field(
        default=Duration(300.0), metadata=_help("a connection without a call so long is closed")
    )
    handshake_timeout: Duration = field(
        default=Duration(10.0),
        metadata=_help("a connection that has not begun to speak HTTP/2 after it is closed"),
    )
    min_ping_interval: Duration = field(
        default=Duration(5.0),
        metadata=_help("a client that pings more often, and asks nothing, is sent away"),
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
        self._check_tls()
        self._check_checks()
        self._check_groups()
        self._check_features()

    def _check_listen(self) -> None:
        keys = ["listen", "features_listen"] if self.has_features else ["listen"]
        taken: dict[tuple[str, int], str] = {}
        for key in (*keys, "probe_listen"):
            for place, address in self._places(key).items():
                if (other := taken.get(place)) and place[1] != 0:
                    raise BadSettingError(
                        f"{address!r} stands in {other}: choose another port",
                        key,
                        other=BadSettingError(f"{address!r} stands in {key} too", other),
                    )
                taken[place] = key
        if not self.has_features:
            self._places("features_listen")

    def _check_tls(self) -> None:
        refuse_tls_halves(self.tls_cert, self.tls_key, self.tls_client_ca)
        if self.probe_listen and not self.tls_cert:
            raise BadSettingError(
                "means nothing without tls_cert: listen has no TLS, so probes can ask there;"
                " remove it",
                "probe_listen",
            )

    def _places(self, key: str) -> dict[tuple[str, int], str]:
        """Say where a setting wants us to listen, with the address that says so."""
        if not getattr(self, key) and key != "probe_listen":
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
            "features_max_message_size", "max_threads", "max_silence", "max_watchers_per_peer",
            "max_unknown_names", "max_header_size", "max_concurrent_streams", "max_connections",
            "max_connections_per_peer", "max_calls_per_peer", "max_pending_calls",
            "max_connection_idle", "handshake_timeout", "min_ping_interval",
        ):  # fmt: skip
            if not getattr(self, name) > 0:
                raise BadSettingError("must be more than 0", name)
        if not 0 <= self.history <= MAX_HISTORY:
            raise BadSettingError(f"must be from 0 to {MAX_HISTORY}", "history")
        if self.max_header_size < _LEAST_HEADERS:
            raise BadSettingError("must be at least 1KiB: no call has less", "max_header_size")
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

"""Features: services with checks of their own, found in installed packages and in one of yours."""

import importlib
import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

from petsage_grpc.checks import kind_of
from petsage_grpc.core.check import Check
from petsage_grpc.core.units import Duration
from petsage_grpc.errors import PackageError, SettingsError
from petsage_grpc.installed import FEATURES, EntryPoint, describe_error, installed
from petsage_grpc.rpc.convert import HEALTH_SERVICE, SMOKE_TEST_SERVICE
from petsage_grpc.rpc.services import Services
from petsage_grpc.rpc.smoke_test import WHOLE_BACKEND
from petsage_grpc.settings import (
    RESERVED_NAMES,
    BadSettingError,
    CheckSettings,
    FeatureSettings,
    Settings,
    dotted,
    require_checks,
)
from petsage_grpc.settings_load import did_you_mean, make_policy, refuse_timing
from petsage_grpc.settings_references import at

__all__ = ["Feature", "mount_features"]

_Function = TypeVar("_Function", bound=Callable[[], Awaitable[None] | None])

_REFLECTION: Final = "grpc.reflection."
"""What the names of the services begin with that tell of the others."""


class Feature(Services):
    """What `mount(feature)` is given: takes in the services and the checks of a feature.

    To generated code it is the server: ``add_PawsServicer_to_server(Paws(), feature)``.

    Args:
        name: its name, by which the smoke test can be asked for it.
        package: who brings it.
        message: what its smoke test says when all is well.
        log_level: least level that is logged.
        configured: the checks of the settings, whose heartbeats a feature may beat.
    """

    def __init__(
        self,
        name: str,
        package: str = "",
        *,
        message: str = "",
        log_level: str = "INFO",
        configured: Mapping[str, CheckSettings] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        self.name = name
        self.package = package
        self.message = message
        """What its smoke test says when all is well; `mount` may set it, and the settings last."""
        self.checks: dict[str, CheckSettings] = {}
        """Its own checks."""
        self.depends: tuple[str, ...] = ()
        """All checks that it depends on, those that the settings name for it too."""
        self.beaten: set[str] = set()
        """The heartbeats of the settings that it beats."""
        self._log_level = log_level
        self._configured = configured

    def check(self, name: str, **policy: Any) -> Callable[[_Function], _Function]:  # noqa: ANN401
        """Make a function without arguments a check; it fails when it raises.

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
        max_silence: float = 10.0,
        **policy: Any,  # noqa: ANN401 -- as many types as settings
    ) -> Callable[[], None]:
        """Add a check that fails when the function that is returned has not been called for long.

        Where the settings have a heartbeat of this name, that one is beaten, and they hold.

        Args:
            name: the name of the check.
            max_silence: seconds; the function has to be called more often.
            policy: `gates` and so on, as in the settings.
        """
        from petsage_grpc.checks.heartbeat import HeartbeatCheck  # noqa: PLC0415 -- only if used

        self.require_open()
        if name in self._configured:
            configured = self._configured[name].check
            if not isinstance(configured, HeartbeatCheck):
                raise ValueError(f"the settings have a check {name!r}, which is no heartbeat")
            self.beaten.add(name)
            return configured.beat
        refuse_timing(HeartbeatCheck, policy)
        check = HeartbeatCheck(max_silence=Duration(max_silence))
        self.add_check(name, check, **policy)
        return check.beat

    def _add(self, name: str, kind: str, check: Check, policy: Mapping[str, Any]) -> None:
        self.require_open()
        if name in self.checks:
            raise ValueError(f"there are two checks {name!r}: name one of them otherwise")
        with at("checks"), at(name):
            made = CheckSettings(kind, check, make_policy(policy))
        made.refuse_nonsense(name, self._log_level)
        self.checks[name] = made

    def __str__(self) -> str:
        return f"{_called(self.name)} ({self.package})"


def mount_features(settings: Settings) -> tuple[Feature, ...]:
    """Find every feature and have it mounted, in the order of their names.

    Raises PackageError with one line that names the feature, who brings it and what is wrong;
    SettingsError when the settings name what is not there.
    """
    entries = {entry.name: entry for entry in _find(settings)}
    for name in settings.features:
        if name not in entries:
            there_are = f"there are: {', '.join(sorted(entries)) or 'none'}"
            mend = did_you_mean(name, entries, there_are)
            raise SettingsError(f"{dotted(('features', name))}: there is no such feature; {mend}")
    features = tuple(_mount(entry, settings) for _, entry in sorted(entries.items()))
    _refuse_conflicts(features, settings)
    try:
        settings.refuse_unheard([name for feature in features for name in feature.beaten])
    except BadSettingError as error:
        raise SettingsError(str(error)) from None
    return features


def _called(name: str) -> str:
    return f"feature {name}"


def _find(settings: Settings) -> Iterator[EntryPoint]:
    """Find what there is to mount, and make sure that each has a name of its own."""
    found: dict[str, EntryPoint] = {}
    modules = _modules_of(settings.features_package) if settings.features_package else ()
    for entry in (*installed(FEATURES), *modules):
        if entry.name == WHOLE_BACKEND:
            raise PackageError(
                f"{_called(entry.name)} ({entry.package}): that name stands for the whole backend:"
                " name it otherwise"
            )
        if entry.name in found:
            other = found[entry.name].package
            raise PackageError(
                f"feature {entry.name} is brought by both {other} and {entry.package}:"
                " remove it from one of them, or name it otherwise there"
            )
        found[entry.name] = entry
        yield entry


def _modules_of(package: str) -> Iterator[EntryPoint]:
    """Import each module of a package, and name those that expose `mount`."""
    import pkgutil  # noqa: PLC0415 -- only if there is a package

    mend = "set PYTHONPATH to where it is, install it, or mend it"
    try:
        places = getattr(importlib.import_module(package), "__path__", None)
    except (Exception, SystemExit) as error:
        raise PackageError(
            f"features_package: {package} can not be imported: {describe_error(error)}; {mend}"
        ) from error
    if places is None:
        raise SettingsError(f"features_package: {package} is a module: name the package around it")
    for module in sorted(pkgutil.iter_modules(places), key=lambda module: module.name):
        if module.name == "__main__":
            continue
        entry = EntryPoint(module.name, f"{package}.{module.name}", "", package)
        if hasattr(entry.load(_called(module.name)), "mount"):
            yield entry


def _mount(entry: EntryPoint, settings: Settings) -> Feature:
    mount = entry.load(_called(entry.name), "mount")
    feature = Feature(
        entry.name,
        entry.package,
        message=settings.message,
        log_level=settings.log_level,
        configured=settings.checks,
    )
    place = f"{entry.module}:{entry.attribute or 'mount'}"
    if not callable(mount):
        raise PackageError(f"{feature}: {place} is no function")
    try:
        result = mount(feature)
    except BadSettingError as error:
        raise PackageError(f"{feature}: {place}: {error}") from error
    except (Exception, SystemExit) as error:
        raise PackageError(f"{feature}: {place} raised {describe_error(error)}") from error
    if inspect.iscoroutine(result):
        result.close()
    if inspect.isawaitable(result) or inspect.isgenerator(result) or inspect.isasyncgen(result):
        raise PackageError(f"{feature}: {place} is async or yields: make it a plain function")
    feature.seal()
    wanted = settings.features.get(feature.name, FeatureSettings())
    feature.message = wanted.message or feature.message
    if not isinstance(feature.message, str):
        told = type(feature.message).__name__
        raise PackageError(f"{feature}: {place} made its message a {told}: make it a text")
    mine = (*feature.checks, *sorted(feature.beaten), *wanted.checks)
    feature.depends = tuple(dict.fromkeys(mine))
    return feature


def _refuse_conflicts(features: Iterable[Feature], settings: Settings) -> None:
    """Raise PackageError when two have one service or check; SettingsError for an unknown check."""
    services = dict.fromkeys((HEALTH_SERVICE, SMOKE_TEST_SERVICE, *RESERVED_NAMES), "petsage-grpc")
    checks = dict.fromkeys(settings.checks, "the settings")
    for feature in features:
        for service in feature.service_names:
            if service in services or service.startswith(_REFLECTION):
                other = services.get(service, "petsage-grpc")
                raise PackageError(f"{feature}: {service} is served by {other} already")
            services[service] = str(feature)
        for check in feature.checks:
            if check in checks:
                raise PackageError(
                    f"{feature}: there is a check {check!r} already, in {checks[check]}:"
                    " name one of them otherwise"
                )
            checks[check] = str(feature)
    try:
        for name, needed in settings.groups.items():
            require_checks(needed, checks, "groups", name)
    except BadSettingError as error:
        raise SettingsError(str(error)) from None

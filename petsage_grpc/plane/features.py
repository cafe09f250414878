"""Features: services with checks of their own, found in installed packages and in one of yours."""

import contextlib
import importlib
import inspect
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from petsage_grpc.errors import PackageError, SettingsError
from petsage_grpc.installed import FEATURES, EntryPoint, describe_error, installed
from petsage_grpc.plane.heartbeats import Heartbeat
from petsage_grpc.plane.registry import Registry
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
from petsage_grpc.settings_parts import did_you_mean

__all__ = ["FEATURES_CHECK", "Feature", "LoadedFeatures", "load_features"]

FEATURES_CHECK: Final = "features"
"""The heartbeat of the event loop of the features."""

_REFLECTION: Final = "grpc.reflection."
"""What the names of the services begin with that tell of the others."""
_LONG: Final = 5.0
"""Seconds after which an import or a mount is told that has not ended."""

_log = logging.getLogger("petsage_grpc.features")


class Feature(Services, Registry):
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
        Services.__init__(self)
        Registry.__init__(self, configured, log_level)
        self.name = name
        self.package = package
        self.message = message
        """What its smoke test says when all is well; `mount` may set it, and the settings last."""
        self.depends: tuple[str, ...] = ()
        """All checks that it depends on, those that the settings name for it too."""

    def _require_open(self) -> None:
        self.require_open()

    def __str__(self) -> str:
        return f"{_called(self.name)} ({self.package})"


class LoadedFeatures(NamedTuple):
    """The features there are, and the heartbeat of their event loop."""

    features: tuple[Feature, ...]
    beat: Heartbeat | None
    checks: dict[str, CheckSettings]
    """The check for the heartbeat, unless the settings have one."""


def load_features(settings: Settings) -> LoadedFeatures:
    """Find every feature and have it mounted, in the order of their names.

    Raises PackageError with one line that names the feature, who brings it and what is wrong;
    SettingsError when the settings name what is not there, or have another check of the name of
    the heartbeat.
    """
    entries = {entry.name: entry for entry in _find(settings)}
    for name in settings.features:
        if name not in entries:
            there_are = f"there are: {', '.join(sorted(entries)) or 'none'}"
            mend = did_you_mean(name, entries, there_are)
            raise SettingsError(f"{dotted(('features', name))}: there is no such feature; {mend}")
    features = tuple(_mount(entry, settings) for _, entry in sorted(entries.items()))
    _refuse_conflicts(features, settings)
    heard = {name for feature in features for name in feature.beaten}
    try:
        settings.refuse_unheard(heard | {FEATURES_CHECK} if features else heard)
    except BadSettingError as error:
        raise SettingsError(str(error)) from None
    if not features:
        return LoadedFeatures((), None, {})
    registry = Registry(settings.checks, settings.log_level)
    try:
        beat = registry.heartbeat(FEATURES_CHECK, max_silence=settings.max_silence)
    except ValueError:
        key = dotted(("checks", FEATURES_CHECK))
        raise SettingsError(
            f"{key}: the heartbeat of the features' loop has this name: name it otherwise"
        ) from None
    return LoadedFeatures(features, beat, registry.checks)


def _called(name: str) -> str:
    return f"feature {name}"


def _brought(entry: EntryPoint) -> str:
    return f"{_called(entry.name)} ({entry.package})"


def _find(settings: Settings) -> Iterator[EntryPoint]:
    """Find what there is to mount, and make sure that each has a name of its own."""
    found: dict[str, EntryPoint] = {}
    modules = _modules_of(settings.features_package) if settings.features_package else ()
    for entry in (*installed(FEATURES), *modules):
        if entry.name == WHOLE_BACKEND:
            raise PackageError(
                f"{_brought(entry)}: that name stands for the whole backend: name it otherwise"
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
        with _telling_when_long(f"the features of {package}"):
            places = getattr(importlib.import_module(package), "__path__", None)
    except BaseException as error:  # somebody else's code may raise anything
        raise PackageError(
            f"features_package: {package} can not be imported: {describe_error(error)}; {mend}"
        ) from error
    if places is None:
        raise SettingsError(f"features_package: {package} is a module: name the package around it")
    for module in sorted(pkgutil.iter_modules(places), key=lambda module: module.name):
        if module.name == "__main__":
            continue
        entry = EntryPoint(module.name, f"{package}.{module.name}", "", package)
        with _telling_when_long(_brought(entry)):
            loaded = entry.load(_called(module.name))
        if hasattr(loaded, "mount"):
            yield entry


@contextlib.contextmanager
def _telling_when_long(what: str) -> Iterator[None]:
    """Log a line when what is done inside of the block has not ended after a while."""
    timer = threading.Timer(_LONG, _log.warning, ("still importing or mounting %s", what))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _mount(entry: EntryPoint, settings: Settings) -> Feature:
    with _telling_when_long(_brought(entry)):
        return _mount_now(entry, settings)


def _mount_now(entry: EntryPoint, settings: Settings) -> Feature:
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
    except BaseException as error:
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


def _refuse_conflicts(features: Sequence[Feature], settings: Settings) -> None:
    """Raise PackageError when two have one service or check; SettingsError for an unknown check."""
    services = dict.fromkeys((HEALTH_SERVICE, SMOKE_TEST_SERVICE, *RESERVED_NAMES), "petsage-grpc")
    checks = dict.fromkeys(settings.checks, "the settings")
    if features:
        checks.setdefault(FEATURES_CHECK, "petsage-grpc")
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

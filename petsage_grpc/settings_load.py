"""Reads the settings from file, environment and arguments, and says exactly what is wrong."""

import dataclasses
import inspect
import math
import os
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import Any, Final, TypeVar

from petsage_grpc.checks import KINDS, UnknownKindError, brought_kinds, kind_names, load_kind
from petsage_grpc.core.check import Check
from petsage_grpc.core.passive import PassiveCheck
from petsage_grpc.core.policy import Policy
from petsage_grpc.core.text import printable, redact, utf8
from petsage_grpc.core.units import Duration, Size, parse_duration, parse_size
from petsage_grpc.errors import PackageError, SettingsError
from petsage_grpc.installed import describe_error
from petsage_grpc.settings import (
    BadSettingError,
    CheckSettings,
    FeatureSettings,
    Settings,
    dotted,
)  # fmt: skip
from petsage_grpc.settings_parts import did_you_mean
from petsage_grpc.settings_paths import absolute_paths
from petsage_grpc.settings_references import Text, at, read_text, resolve, secrets_of
from petsage_grpc.settings_tls import load_tls
from petsage_grpc.settings_tokens import refuse_bad_access

__all__ = [
    "ENV_PREFIX", "TABLES", "fields_of", "load_settings", "load_with_table",
    "make_policy", "refuse_timing", "settings_of",
]  # fmt: skip

ENV_PREFIX: Final = "PETSAGE_"

TABLES: Final = ("checks", "groups", "features")
"""The settings that stand in tables of their own; no variable can hold them."""

# Kubernetes sets these for each Service of the namespace, also for one called petsage.
_SERVICE_LINK: Final = re.compile(
    r"(.+_)?(SERVICE_(HOST|PORT(_.+)?)=.*|PORT_[0-9]+_(TCP|UDP|SCTP)(_.+)?=.*|PORT=[a-z]+://.*)"
)
_NUMBER: Final = re.compile(r"-?[0-9]{1,300}(\.[0-9]+)?")
_TRUTH: Final = {"true": True, "1": True, "false": False, "0": False}

_SCALARS: Final[dict[Any, tuple[Callable[[Any], bool], str]]] = {
    str: (lambda value: isinstance(value, str), "a string: put it in quotes"),
    bool: (lambda value: isinstance(value, bool), "true or false"),
    int: (lambda value: type(value) is int, "a whole number"),  # as True is none
    float: (lambda value: type(value) in (int, float) and math.isfinite(value), "a number"),
    Duration: (
        lambda value: type(value) in (int, float) and 0 <= value < math.inf,
        'a duration: write seconds, or "500ms", "10s", "2m"',
    ),
    Size: (lambda value: type(value) is int and value >= 0, 'a size: write bytes, or "64MiB"'),
}
"""Which values fit each type, and how to write one."""

_T = TypeVar("_T")


def load_settings(
    path: str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    **overrides: Any,  # noqa: ANN401 -- values of any setting, checked like those of the file
) -> Settings:
    """Read the settings: the file, the environment over it, `overrides` over both.

    Args:
        path: a TOML file; without one the defaults hold.
        environ: variables, `os.environ` if not given.
        overrides: settings by name, as they would stand in the file, but ``${…}`` means nothing
            in them. None means not given.

    Raises SettingsError with one line that names the source, the key and the mend; PackageError
    when an installed package brings a kind of check that is none.
    """
    return load_with_table(path, environ=environ, **overrides)[0]


def settings_of(table: Mapping[str, Any]) -> Settings:
    """Make settings of a table that `load_with_table` has given."""
    _load_brought_kinds()
    return _build(Settings, table)


def load_with_table(
    path: str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    **overrides: Any,  # noqa: ANN401 -- as for load_settings
) -> tuple[Settings, dict[str, Any]]:
    """Read the settings as `load_settings` does; return them, and what they were made of."""
    _load_brought_kinds()
    if path is not None and not os.fspath(path):  # a Path would take it for the directory
        raise SettingsError("the settings file has no name: name one, or leave it out")
    environ = os.environ if environ is None else environ
    referenced: set[str] = set()
    layers = {
        f"{path}: ": {} if path is None else _read_file(Path(path), environ, referenced),
        ENV_PREFIX: _read_variables(environ, referenced),
        "argument ": {key: raw for key, raw in overrides.items() if raw is not None},
    }
    table: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, given in layers.items():
        table |= given
        sources |= dict.fromkeys(given, source)
    try:
        made = _usable(_build(Settings, table))
    except BadSettingError as error:
        # Of two that contradict each other, blame the one that overrides; never one not given.
        both = [said for said in (error, error.other) if said and said.key[0] in sources]
        blamed = max(both, key=lambda said: [*layers].index(sources[said.key[0]]))
        source = sources[blamed.key[0]]
        place = blamed.key[0].upper() if source == ENV_PREFIX else dotted(blamed.key)
        raise _error(source + place, blamed.text) from None
    absolute = absolute_paths(made)
    return dataclasses.replace(made, **absolute), table | absolute


def _usable(settings: Settings) -> Settings:
    """Look at the files that it names; who starts again with the same settings need not."""
    if settings.tls_cert:
        load_tls(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
    refuse_bad_access(settings)
    return settings


def fields_of(cls: type) -> Iterable[tuple[str, Any, Any, str]]:
    """List the settings that a dataclass holds, its own first: name, type, default and help.

    Of a type like `Duration | None` it is the first, as TOML has no null; the default of a setting
    that must be given is `dataclasses.MISSING`.
    """
    if not dataclasses.is_dataclass(cls):
        raise TypeError(f"{cls.__qualname__} is no dataclass, so it has no settings")
    hints = typing.get_type_hints(cls)
    own = inspect.get_annotations(cls)
    for field in sorted(dataclasses.fields(cls), key=lambda field: field.name not in own):
        if field.init:
            inner, factory = typing.get_args(hints[field.name]), field.default_factory
            hint = inner[0] if NoneType in inner else hints[field.name]
            default = field.default if factory is dataclasses.MISSING else factory()
            yield field.name, hint, default, field.metadata.get("help", "")


def _hints(cls: type) -> dict[str, Any]:
    return {name: hint for name, hint, *_ in fields_of(cls)}


def _load_brought_kinds() -> None:
    """Import the kinds that packages bring: one that can not work is told at the start."""
    for kind, entry in brought_kinds().items():
        cls, wrong = load_kind(kind), ""
        try:
            unreadable = [name for name, hint in _hints(cls).items() if not _can_read(hint)]
        except Exception as error:  # noqa: BLE001 -- their annotations can be anything
            wrong = describe_error(error)
        else:
            if unreadable:
                wrong = (
                    f"the type of {unreadable[0]} can not be had from TOML: use str, int, float,"
                    " bool, Duration, Size, tuple[T, ...] or Mapping[str, T]"
                )
        if wrong:
            raise PackageError(f"kind {kind} ({entry.package}): {cls.__qualname__}: {wrong}")


def _can_read(hint: Any) -> bool:  # noqa: ANN401 -- any type that a setting may have
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return len(inner) == 2 and inner[1] is ... and inner[0] in _SCALARS  # noqa: PLR2004
    if origin is Mapping:
        return inner[0] is str and inner[1] in _SCALARS
    return hint in _SCALARS


def _error(place: str, text: str) -> SettingsError:
    return SettingsError(printable(redact(f"{place}: {text}", {})))


def _read_file(path: Path, environ: Mapping[str, str], referenced: set[str]) -> dict[str, Any]:
    """Read the settings file, and what its references stand for."""
    import tomllib  # noqa: PLC0415 -- the defaults start faster without it

    try:
        table: dict[str, Any] = resolve(tomllib.loads(read_text(path)), environ, referenced)
    except BadSettingError as error:
        raise _error(f"{path}: {dotted(error.key)}", error.text) from None
    except tomllib.TOMLDecodeError as error:
        raise _error(str(path), f"not valid TOML: {error}") from None
    except RecursionError:
        raise _error(str(path), "not valid TOML: nested too deeply") from None
    except ValueError as error:
        raise _error(str(path), str(error)) from None
    return table


def _read_variables(environ: Mapping[str, str], referenced: set[str]) -> dict[str, Text]:
    """Pick the variables that are settings."""
    known = {name.upper(): name for name in _hints(Settings) if name not in TABLES}
    found = {}
    for variable, text in environ.items():
        if not variable.startswith(ENV_PREFIX):
            continue
        bare = variable.removeprefix(ENV_PREFIX)
        if bare in known:
            try:
                found[known[bare]] = Text(utf8(text))
            except ValueError as error:
                raise _error(variable, str(error)) from None
        elif variable not in referenced and not _SERVICE_LINK.fullmatch(f"{bare}={text}"):
            mend = did_you_mean(bare.upper(), known, "unset it, or name it otherwise", ENV_PREFIX)
            raise _error(variable, f"no such setting; {mend}")
    return found


def make_policy(table: Mapping[str, Any], check: Check | type[Check] = Check) -> Policy:
    """Make a policy of its settings as they would stand in the file. Raises BadSettingError.

    Args:
        table: the settings that are given.
        check: what it is for; its kind may have defaults of its own.
    """
    return _build(Policy, {**check.default_policy, **table})


def _build(cls: type[_T], table: Mapping[str, Any], also_known: Iterable[str] = ()) -> _T:
    """Make a dataclass of its settings, each looked at by name and by type."""
    hints, values = _hints(cls), {}
    for key, raw in table.items():
        with at(key):
            if key not in hints:
                known = [*hints, *also_known]
                mend = did_you_mean(key, known, "petsage-grpc checks lists them all")
                raise ValueError(f"no such setting; {mend}")
            values[key] = _convert(hints[key], raw)
    for name, _, default, _ in fields_of(cls):
        if default is dataclasses.MISSING and name not in values:
            raise BadSettingError("must be set", name)
    try:
        return cls(**values)
    except BadSettingError:
        raise
    except ValueError as error:  # it begins with its key: "fall must be …" or "gates: … is …"
        said = re.match(r"(\w+):? (.+)", str(error), re.DOTALL)
        if said and said[1] in hints:
            raise BadSettingError(redact(said[2], secrets_of(table)), said[1]) from None
        raise ValueError(redact(str(error), secrets_of(table))) from None


def _convert(hint: Any, raw: Any) -> Any:  # noqa: ANN401 -- as many types as settings
    """Turn a value of TOML into one of the type that a setting has.

    Raises ValueError or OverflowError; BadSettingError for something inside of it.
    """
    value = _from_text(hint, raw) if isinstance(raw, Text) else raw
    kind, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if kind in (Mapping, CheckSettings, FeatureSettings) and not isinstance(value, Mapping):
        raise ValueError(f"{_show(raw)} is not a table: write its name in [ ] above its settings")
    if kind is CheckSettings:
        return _check(value)
    if kind is FeatureSettings:
        return _build(FeatureSettings, value)
    if kind is Mapping:
        table = {}
        for key, item in value.items():
            with at(key):
                table[key] = _convert(inner[1], item)
        return MappingProxyType(table)
    if kind is tuple:
        if not isinstance(value, list | tuple | str):
            raise ValueError(f"{_show(raw)} is not a list: put it in [ ]")
        items = [value] if isinstance(value, str) else value
        return tuple(_convert(inner[0], item) for item in items)
    if isinstance(value, str) and hint in (Duration, Size):
        value = parse_duration(value) if hint is Duration else parse_size(value)
    fits, wanted = _SCALARS[hint]
    if not fits(value):
        raise ValueError(f"{_show(raw)} is not {wanted}")
    return float(value) if hint in (float, Duration) else value


def _from_text(hint: Any, text: Text) -> Any:  # noqa: ANN401 -- as many types as settings
    """Read a text as the type of its setting wants it; one that does not fit stays a text."""
    if typing.get_origin(hint) is tuple:
        return text.split_list()
    if hint is bool:
        return _TRUTH.get(text.lower(), text)
    if hint in (int, float, Duration) and _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    return text


def _show(raw: Any) -> str:  # noqa: ANN401 -- whatever TOML can hold
    """Show a value as it stands in the file, but not all of a long one."""
    if isinstance(raw, list | tuple | Mapping):
        return "a table" if isinstance(raw, Mapping) else "a list"
    return repr(raw) if isinstance(raw, str) else str(raw).lower()


def refuse_timing(cls: type[Check], given: Iterable[str]) -> None:
    """Raise BadSettingError for what would say when to run a check that nobody runs."""
    means_nothing = {"interval", "timeout", "edge_interval", "jitter", "stale_after"}
    for key in given:
        if key in means_nothing and issubclass(cls, PassiveCheck):
            raise BadSettingError("means nothing here, for nobody runs it: set max_silence", key)


def _check(raw: Mapping[str, Any]) -> CheckSettings:
    with at("kind"):
        if "kind" not in raw:
            raise ValueError(f"must be set: the kinds are {', '.join(kind_names())}")
        kind = _convert(str, raw["kind"])
        try:
            cls = load_kind(kind)
        except UnknownKindError:
            there_are = kind_names()
            mend = did_you_mean(kind, there_are, f"the kinds are {', '.join(there_are)}")
            raise ValueError(f"there is no kind {kind!r}; {mend}") from None
    every, own = _hints(Policy), _hints(cls)
    refuse_timing(cls, raw)
    table = {key: item for key, item in raw.items() if key != "kind"}
    policy = make_policy({key: item for key, item in table.items() if key in every}, cls)
    rest = {key: item for key, item in table.items() if key in own or key not in every}
    try:
        check = _build(cls, rest, also_known=every)
    except ValueError:
        raise
    except Exception as error:
        if kind in KINDS:
            raise
        said = redact(describe_error(error), secrets_of(rest))
        raise ValueError(f"the kind {kind!r} fails: {said}") from None
    for key, item in rest.items():
        if own[key] not in (int, float, bool, Duration, Size):
            for secret, written in secrets_of(item).items():
                check.hide(secret, written)
    return CheckSettings(kind, check, policy)

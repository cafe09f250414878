"""Reads the settings from file, environment and arguments, and says exactly what is wrong."""

import dataclasses
import functools
import os
import re
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

from petsage_grpc.checks import KINDS, UnknownKindError, load_kind
from petsage_grpc.core.policy import Policy
from petsage_grpc.core.units import Duration, Size, parse_duration, parse_size
from petsage_grpc.errors import SettingsError
from petsage_grpc.settings import CheckSettings, Settings

__all__ = ["ENV_PREFIX", "fields_of", "load_settings"]

ENV_PREFIX: Final = "PETSAGE_"

# Kubernetes sets these for each Service of the namespace, also for one called petsage.
_SERVICE_LINK: Final = re.compile(r".*_(SERVICE_(HOST|PORT(_.+)?)|PORT(_[0-9]+_(TCP|UDP|SCTP).*)?)")
_BARE_SERVICE_LINK: Final = re.compile(r"(SERVICE_(HOST|PORT.*)|PORT(_.*)?)")
_REFERENCE: Final = re.compile(r"\$\{([^}]*)\}")
_CHECK_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_TOO_BIG: Final = 1024 * 1024

_T = TypeVar("_T")


class _BadValueError(Exception):
    """A value does not fit its setting; `where` is the key below the one at hand."""

    def __init__(self, text: str, where: str = "") -> None:
        super().__init__(text)
        self.where = where


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
        overrides: settings by name, as they would stand in the file. None means not given.

    Raises SettingsError with one line that names the source, the key and the mend.
    """
    environ = os.environ if environ is None else environ
    name, table = ("settings", {}) if path is None else (str(path), _read_toml(Path(path)))
    referenced: set[str] = set()
    table = _resolve(table, name, "", environ, referenced)
    given = {key: value for key, value in overrides.items() if value is not None}
    sources = dict.fromkeys(table, name) | dict.fromkeys(given, "argument")
    for variable, key, text in _variables(environ, referenced):
        if key not in given:
            table[key] = text
            sources[key] = variable
    table |= given
    converters: dict[str, Callable[[Any], Any]] = {"checks": _checks, "groups": _groups}
    values = {}
    for key, raw in table.items():
        source = sources[key]
        try:
            value = _from_text(Settings, key, raw) if source.startswith(ENV_PREFIX) else raw
            values.update(_convert_table(Settings, {key: value}, converters))
        except _BadValueError as error:
            # A variable is its own key.
            where = "" if source.startswith(ENV_PREFIX) else f": {error.where or key}"
            raise SettingsError(f"{source}{where}: {error}") from None
    try:
        return Settings(**values)
    except ValueError as error:
        key = re.split(r"\W", str(error), maxsplit=1)[0]
        raise SettingsError(f"{sources.get(key, name)}: {error}") from None


def fields_of(cls: type) -> Iterable[tuple[str, Any, Any, str]]:
    """List the settings that a dataclass holds: name, type, default and help of each."""
    hints = _hints(cls)
    for field in dataclasses.fields(cls):
        default = (
            field.default
            if field.default_factory is dataclasses.MISSING
            else field.default_factory()
        )
        yield field.name, hints[field.name], default, field.metadata.get("help", "")


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(_TOO_BIG + 1)
    except OSError as error:
        raise SettingsError(f"{path}: can not be read: {error.strerror}") from None
    if len(data) > _TOO_BIG:
        raise SettingsError(f"{path}: larger than 1 MiB; is it a settings file?")
    try:
        return tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SettingsError(f"{path}: line {line} is not UTF-8: save the file as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from None


def _resolve(
    value: Any,  # noqa: ANN401 -- whatever TOML can hold
    source: str,
    key: str,
    environ: Mapping[str, str],
    referenced: set[str],
) -> Any:  # noqa: ANN401
    """Replace ``${NAME}`` by a variable and ``${file:PATH}`` by what a file holds, at any depth."""
    if isinstance(value, dict):
        prefix = f"{key}." if key else ""
        return {
            name: _resolve(inner, source, prefix + name, environ, referenced)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_resolve(inner, source, key, environ, referenced) for inner in value]
    if not isinstance(value, str):
        return value

    def look_up(match: re.Match[str]) -> str:
        reference = match[1]
        if reference.startswith("file:"):
            path = Path(reference.removeprefix("file:"))
            try:
                return path.read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
                raise SettingsError(f"{source}: {key}: {path} can not be read: {why}") from None
        referenced.add(reference)
        if reference not in environ:
            raise SettingsError(
                f"{source}: {key}: the environment has no {reference}: set it, or write the value"
            )
        return environ[reference]

    return _REFERENCE.sub(look_up, value)


def _variables(environ: Mapping[str, str], referenced: set[str]) -> Iterable[tuple[str, str, str]]:
    """Pick the variables that are settings: their name, the setting and the text."""
    tables = ("checks", "groups")
    known = [field.name for field in dataclasses.fields(Settings) if field.name not in tables]
    for variable, text in environ.items():
        if not variable.startswith(ENV_PREFIX) or variable in referenced:
            continue
        bare = variable.removeprefix(ENV_PREFIX)
        if bare.lower() in known:
            yield variable, bare.lower(), text
        elif not (_SERVICE_LINK.fullmatch(bare) or _BARE_SERVICE_LINK.fullmatch(bare)):
            raise SettingsError(
                f"{variable}: no such setting{_suggest(bare.lower(), known)};"
                " unset it, or name it otherwise"
            )


def _from_text(cls: type, key: str, text: str) -> Any:  # noqa: ANN401 -- as many types as settings
    """Read a variable's text as the type of its setting wants it."""
    hint = _hints(cls)[key]
    if hint is bool:
        words = {"true": True, "false": False, "1": True, "0": False}
        if text.lower() not in words:
            raise _BadValueError(f"{text!r} is neither true nor false", key)
        return words[text.lower()]
    if hint in (int, float, Duration, Size):
        try:
            return int(text) if re.fullmatch(r"-?[0-9]+", text) else float(text)
        except ValueError:
            return text
    if typing.get_origin(hint) is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _convert_table(
    cls: type,
    table: Mapping[str, Any],
    converters: Mapping[str, Callable[[Any], Any]] = MappingProxyType({}),
) -> dict[str, Any]:
    """Check the keys and types of a table against the dataclass that holds its settings."""
    hints = _hints(cls)
    known = [field.name for field in dataclasses.fields(cls)]
    values = {}
    for key, raw in table.items():
        if key not in known:
            raise _BadValueError(f"no such setting{_suggest(key, known)}", key)
        try:
            convert = converters.get(key)
            values[key] = convert(raw) if convert else _convert(hints[key], raw)
        except _BadValueError as error:
            where = f"{key}.{error.where}" if error.where else key
            raise _BadValueError(str(error), where) from None
        except ValueError as error:
            raise _BadValueError(str(error), key) from None
    return values


def _convert(hint: Any, raw: Any) -> Any:  # noqa: ANN401, PLR0911, C901 -- one line for each type
    """Turn a value of TOML into one of the type that a setting has.

    Raises _BadValueError or ValueError saying what was expected.
    """
    if isinstance(hint, types.UnionType):  # X | None; TOML has no null
        return _convert(hint.__args__[0], raw)
    is_number = isinstance(raw, int | float) and not isinstance(raw, bool)
    if hint is Duration:
        if isinstance(raw, str):
            return parse_duration(raw)
        if is_number and 0 <= raw < float("inf"):
            return float(raw)
        raise _BadValueError(f'{raw!r} is not a duration: write seconds, or "500ms", "10s", "2m"')
    if hint is Size:
        if isinstance(raw, str):
            return parse_size(raw)
        if isinstance(raw, int) and is_number and raw >= 0:
            return raw
        raise _BadValueError(f'{raw!r} is not a size: write bytes, or "64MiB"')
    if typing.get_origin(hint) is tuple:
        raw = [raw] if isinstance(raw, str) else raw
        if not isinstance(raw, list | tuple):
            raise _BadValueError(f"{raw!r} is not a list: put it in [ ]")
        return tuple(_convert(typing.get_args(hint)[0], item) for item in raw)
    if hint is float and is_number:
        return float(raw)
    if hint is int and isinstance(raw, int) and is_number:
        return raw
    if hint in (str, bool) and isinstance(raw, hint):
        return raw
    wanted = {str: "a string", bool: "true or false", int: "a whole number", float: "a number"}
    raise _BadValueError(f"{raw!r} is not {wanted[hint]}")


def _checks(raw: Any) -> Mapping[str, CheckSettings]:  # noqa: ANN401 -- it is checked here
    if not isinstance(raw, Mapping):
        raise _BadValueError("not a table: write [checks.NAME]")
    return MappingProxyType({name: _check(name, table) for name, table in raw.items()})


def _check(name: str, raw: Any) -> CheckSettings:  # noqa: ANN401 -- it is checked here
    if not _CHECK_NAME.fullmatch(name):
        raise _BadValueError("a check's name has letters, digits, '.', '_' and '-'", name)
    if not isinstance(raw, Mapping):
        raise _BadValueError(f"not a table: write [checks.{name}]", name)
    kind = raw.get("kind")
    if not isinstance(kind, str):
        raise _BadValueError(f"which kind of check is it? set kind to one of {_all(KINDS)}", name)
    try:
        cls = load_kind(kind)
    except UnknownKindError:
        hint = _suggest(kind, KINDS)
        message = f"there is no kind {kind!r}{hint}; the kinds are {_all(KINDS)}"
        raise _BadValueError(message, f"{name}.kind") from None
    of_policy = {field.name for field in dataclasses.fields(Policy)}
    of_kind = [field.name for field in dataclasses.fields(_as_dataclass(cls))]
    table = {key: value for key, value in raw.items() if key != "kind"}
    for key in table:
        if key not in of_policy and key not in of_kind:
            hint = _suggest(key, [*of_kind, *of_policy])
            raise _BadValueError(f"a {kind} check has no such setting{hint}", f"{name}.{key}")
    policy = _build(Policy, {k: v for k, v in table.items() if k in of_policy}, name)
    check = _build(cls, {k: v for k, v in table.items() if k in of_kind}, name)
    return CheckSettings(kind, check, policy)


def _as_dataclass(cls: type) -> Any:  # noqa: ANN401 -- mypy has no type for it
    if not dataclasses.is_dataclass(cls):
        raise TypeError(f"{cls.__qualname__} is no dataclass, so it has no settings")
    return cls


def _build(cls: type[_T], table: Mapping[str, Any], name: str) -> _T:
    try:
        return cls(**_convert_table(cls, table))
    except _BadValueError as error:
        raise _BadValueError(str(error), f"{name}.{error.where}") from None
    except ValueError as error:  # its text starts with the key
        raise _BadValueError(str(error), name) from None
    except TypeError:
        required = dataclasses.fields(_as_dataclass(cls))
        missing = [
            field.name
            for field in required
            if field.default is dataclasses.MISSING
            and field.default_factory is dataclasses.MISSING
            and field.name not in table
        ]
        raise _BadValueError(f"{_all(missing)} must be set", name) from None


def _groups(raw: Any) -> Mapping[str, tuple[str, ...]]:  # noqa: ANN401 -- it is checked here
    if not isinstance(raw, Mapping):
        raise _BadValueError('not a table: write "name" = ["check", …] below [groups]')
    groups = {}
    for name, checks in raw.items():
        try:
            groups[name] = _convert(tuple[str, ...], checks)
        except _BadValueError as error:
            raise _BadValueError(str(error), name) from None
    return MappingProxyType(groups)


def _all(names: Iterable[str]) -> str:
    return ", ".join(names)


def _suggest(name: str, known: Iterable[str]) -> str:
    import difflib  # noqa: PLC0415 -- only for a mistake

    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""

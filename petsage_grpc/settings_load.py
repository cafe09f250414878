"""Reads the settings from file, environment and arguments, and says exactly what is wrong."""

import dataclasses
import math
import os
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import Any, Final, Self, TypeVar

from petsage_grpc.checks import KINDS, UnknownKindError, load_kind
from petsage_grpc.core.policy import Policy
from petsage_grpc.core.text import utf8
from petsage_grpc.core.units import Duration, Size, parse_duration, parse_size
from petsage_grpc.errors import SettingsError
from petsage_grpc.settings import BadSettingError, CheckSettings, Settings, dotted

__all__ = ["ENV_PREFIX", "fields_of", "load_settings"]

ENV_PREFIX: Final = "PETSAGE_"

# Kubernetes sets these for each Service of the namespace, also for one called petsage.
_SERVICE_LINK: Final = re.compile(
    r"(.+_)?(SERVICE_(HOST|PORT(_.+)?)=.*|PORT_[0-9]+_(TCP|UDP|SCTP)(_.+)?=.*|PORT=[a-z]+://.*)"
)
_REFERENCE: Final = re.compile(r"\$\{([^}]*)\}")
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_TRUTH: Final = {"true": True, "1": True, "false": False, "0": False}
_TOO_BIG: Final = 1024 * 1024

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


class _Text(str):
    """A text from a variable or from another file, which is read as its setting's type wants it.

    Args:
        text: the text.
        written: what stands for it in the settings file; shown instead, for it may be a secret.
    """

    __slots__ = ("written",)
    written: str

    def __new__(cls, text: str, written: str = "") -> Self:
        made = super().__new__(cls, text)
        made.written = written
        return made

    def __repr__(self) -> str:
        return repr(self.written or str(self))


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

    Raises SettingsError with one line that names the source, the key and the mend.
    """
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
        return _build(Settings, table)
    except BadSettingError as error:
        # Of two that contradict each other, blame the one that overrides; never one not given.
        both = [said for said in (error, error.other) if said and said.key[0] in sources]
        blamed = max(both, key=lambda said: [*layers].index(sources[said.key[0]]))
        source = sources[blamed.key[0]]
        place = blamed.key[0].upper() if source == ENV_PREFIX else dotted(blamed.key)
        raise _error(source + place, blamed.text) from None


def fields_of(cls: type) -> Iterable[tuple[str, Any, Any, str]]:
    """List the settings that a dataclass holds: name, type, default and help of each.

    Of a type like `Duration | None` it is the first, as TOML has no null; the default of a setting
    that must be given is `dataclasses.MISSING`.
    """
    if not dataclasses.is_dataclass(cls):
        raise TypeError(f"{cls.__qualname__} is no dataclass, so it has no settings")
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if field.init:
            inner, factory = typing.get_args(hints[field.name]), field.default_factory
            hint = inner[0] if NoneType in inner else hints[field.name]
            default = field.default if factory is dataclasses.MISSING else factory()
            yield field.name, hint, default, field.metadata.get("help", "")


def _hints(cls: type) -> dict[str, Any]:
    return {name: hint for name, hint, *_ in fields_of(cls)}


def _error(place: str, text: str) -> SettingsError:
    line = f"{place}: {text}"
    return SettingsError(
        "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    )


def _read_file(path: Path, environ: Mapping[str, str], referenced: set[str]) -> dict[str, Any]:
    """Read the settings file, and what its references stand for."""
    import tomllib  # noqa: PLC0415 -- the defaults start faster without it

    try:
        table: dict[str, Any] = _resolve(tomllib.loads(_read(path)), environ, referenced)
    except BadSettingError as error:
        raise _error(f"{path}: {dotted(error.key)}", error.text) from None
    except tomllib.TOMLDecodeError as error:
        raise _error(str(path), f"not valid TOML: {error}") from None
    except RecursionError:
        raise _error(str(path), "not valid TOML: nested too deeply") from None
    except ValueError as error:
        raise _error(str(path), str(error)) from None
    return table


def _read(path: Path) -> str:
    """Read a file. Raises ValueError saying why it can not be read."""
    try:
        with path.open("rb") as file:
            data = file.read(_TOO_BIG + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"can not be read: {why}; name a file that this user can read") from None
    if len(data) > _TOO_BIG:
        raise ValueError("larger than 1 MiB: is it the right file?")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not UTF-8: save the file as UTF-8") from None


def _resolve(raw: Any, environ: Mapping[str, str], referenced: set[str]) -> Any:  # noqa: ANN401
    """Replace ``${NAME}`` by a variable and ``${file:PATH}`` by what a file holds, at any depth.

    The variables' names are added to `referenced`.
    """
    if isinstance(raw, list):
        return [_resolve(item, environ, referenced) for item in raw]
    if isinstance(raw, dict):
        table = {}
        for key, item in raw.items():
            with _at(key):
                table[key] = _resolve(item, environ, referenced)
        return table
    if not isinstance(raw, str) or not _REFERENCE.search(raw):
        return raw

    def look_up(match: re.Match[str]) -> str:
        name = match[1]
        if name.startswith("file:"):
            try:
                return _read(Path(name.removeprefix("file:"))).rstrip("\r\n")
            except ValueError as error:
                raise ValueError(f"{match[0]}: {error}") from None
        if name not in environ:
            raise ValueError(f"{match[0]}: the environment has no such variable: set it")
        referenced.add(name)
        try:
            return utf8(environ[name])
        except ValueError as error:
            raise ValueError(f"{match[0]}: {error}") from None

    return _Text(_REFERENCE.sub(look_up, raw), written=raw)


def _read_variables(environ: Mapping[str, str], referenced: set[str]) -> dict[str, _Text]:
    """Pick the variables that are settings."""
    known = {name.upper(): name for name in _hints(Settings) if name not in ("checks", "groups")}
    found = {}
    for variable, text in environ.items():
        if not variable.startswith(ENV_PREFIX):
            continue
        bare = variable.removeprefix(ENV_PREFIX)
        if bare in known:
            try:
                found[known[bare]] = _Text(utf8(text))
            except ValueError as error:
                raise _error(variable, str(error)) from None
        elif variable not in referenced and not _SERVICE_LINK.fullmatch(f"{bare}={text}"):
            mend = _did_you_mean(bare.upper(), known, "unset it, or name it otherwise", ENV_PREFIX)
            raise _error(variable, f"no such setting; {mend}")
    return found


def _did_you_mean(name: str, known: Iterable[str], otherwise: str, prefix: str = "") -> str:
    import difflib  # noqa: PLC0415 -- only a mistake needs it

    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f"did you mean {prefix}{close[0]}?" if close else otherwise


@contextmanager
def _at(key: str) -> Iterator[None]:
    """Put a key before the key of what goes wrong inside."""
    try:
        yield
    except BadSettingError as error:
        raise BadSettingError(error.text, key, *error.key) from None
    except OverflowError:
        raise BadSettingError("too large a number", key) from None
    except ValueError as error:
        raise BadSettingError(str(error), key) from None


def _build(cls: type[_T], table: Mapping[str, Any], also_known: Iterable[str] = ()) -> _T:
    """Make a dataclass of its settings, each looked at by name and by type."""
    hints, values = _hints(cls), {}
    for key, raw in table.items():
        with _at(key):
            if key not in hints:
                known = [*hints, *also_known]
                mend = _did_you_mean(key, known, "petsage-grpc checks lists them all")
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
            raise BadSettingError(_hide(said[2], table), said[1]) from None
        raise ValueError(_hide(str(error), table)) from None


def _hide(text: str, raw: Any) -> str:  # noqa: ANN401 -- whatever TOML can hold
    """Undo the references in a text, for a kind of check may have said a secret."""
    if isinstance(raw, list | Mapping):
        for item in raw.values() if isinstance(raw, Mapping) else raw:
            text = _hide(text, item)
    elif isinstance(raw, _Text) and raw and raw.written:
        text = text.replace(raw, raw.written)
    return text


def _convert(hint: Any, raw: Any) -> Any:  # noqa: ANN401 -- as many types as settings
    """Turn a value of TOML into one of the type that a setting has.

    Raises ValueError or OverflowError; BadSettingError for something inside of it.
    """
    value = _from_text(hint, raw) if isinstance(raw, _Text) else raw
    kind, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if kind in (Mapping, CheckSettings) and not isinstance(value, Mapping):
        raise ValueError(f"{_show(raw)} is not a table: write its name in [ ] above its settings")
    if kind is CheckSettings:
        return _check(value)
    if kind is Mapping:
        table = {}
        for key, item in value.items():
            with _at(key):
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


def _from_text(hint: Any, text: _Text) -> Any:  # noqa: ANN401 -- as many types as settings
    """Read a text as the type of its setting wants it; one that does not fit stays a text."""
    if typing.get_origin(hint) is tuple:
        return [_Text(part.strip(), text.written) for part in text.split(",") if part.strip()]
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


def _check(raw: Mapping[str, Any]) -> CheckSettings:
    kinds = f"the kinds are {', '.join(KINDS)}"
    with _at("kind"):
        if "kind" not in raw:
            raise ValueError(f"must be set: {kinds}")
        kind = _convert(str, raw["kind"])
        try:
            cls = load_kind(kind)
        except UnknownKindError:
            mend = _did_you_mean(kind, KINDS, kinds)
            raise ValueError(f"there is no kind {kind!r}; {mend}") from None
    every, own = _hints(Policy), _hints(cls)
    table = {key: item for key, item in raw.items() if key != "kind"}
    policy = _build(Policy, {key: item for key, item in table.items() if key in every})
    rest = {key: item for key, item in table.items() if key in own or key not in every}
    check = _build(cls, rest, also_known=every)
    return CheckSettings(kind, check, policy)

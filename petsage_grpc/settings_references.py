"""Puts what variables and files hold into the settings, and knows what must not be shown of it."""

import codecs
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

from petsage_grpc.core.text import utf8
from petsage_grpc.settings import BadSettingError

__all__ = ["Text", "at", "read_text", "resolve", "secrets_of"]

_REFERENCE: Final = re.compile(r"\$\{([^}]*)\}")
_NO_SECRET: Final = re.compile(
    r".{0,3}|-?[0-9]{0,5}(\.[0-9]{0,5})?|true|false", re.IGNORECASE | re.DOTALL
)
"""What is in so many texts that they could not be read without it, as ports are."""
_TOO_BIG: Final = 1024 * 1024


class Text(str):
    """A text from a variable or from another file, which is read as its setting's type wants it.

    Args:
        text: the text.
        written: what stands for it in the settings file; shown instead, for it may be a secret.
        parts: what each reference in it stands for, with the reference.
    """

    __slots__ = ("parts", "written")
    written: str
    parts: tuple[tuple[str, str], ...]

    def __new__(cls, text: str, written: str = "", parts: tuple[tuple[str, str], ...] = ()) -> Self:
        """Make it of the text."""
        made = super().__new__(cls, text)
        made.written = written
        made.parts = parts
        return made

    def split_list(self) -> list[Self]:
        """Split it at its commas."""
        pieces = (piece.strip() for piece in self.split(","))
        return [type(self)(piece, self.written, self.parts) for piece in pieces if piece]

    def __repr__(self) -> str:
        return repr(self.written or str(self))


def read_text(path: Path) -> str:
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
        return data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not UTF-8: save the file as UTF-8") from None


def resolve(raw: Any, environ: Mapping[str, str], referenced: set[str]) -> Any:  # noqa: ANN401
    """Replace ``${NAME}`` by a variable and ``${file:PATH}`` by what a file holds, at any depth.

    What is named is added to `referenced`.
    """
    if isinstance(raw, list):
        return [resolve(item, environ, referenced) for item in raw]
    if isinstance(raw, dict):
        table = {}
        for key, item in raw.items():
            with at(key):
                table[key] = resolve(item, environ, referenced)
        return table
    if not isinstance(raw, str) or not _REFERENCE.search(raw):
        return raw

    parts: list[tuple[str, str]] = []

    def stand_in(match: re.Match[str]) -> str:
        try:
            found = _look_up(match[1], environ)
        except ValueError as error:
            raise ValueError(f"{match[0]}: {error}") from None
        referenced.add(match[1])
        parts.append((found, match[0]))
        return found

    return Text(_REFERENCE.sub(stand_in, raw), written=raw, parts=tuple(parts))


def _look_up(name: str, environ: Mapping[str, str]) -> str:
    if name.startswith("file:"):
        return read_text(Path(name.removeprefix("file:"))).rstrip("\r\n")
    if name not in environ:
        raise ValueError("the environment has no such variable: set it")
    return utf8(environ[name])


@contextmanager
def at(key: str) -> Iterator[None]:
    """Put a key before the key of what goes wrong inside."""
    try:
        yield
    except BadSettingError as error:
        raise BadSettingError(error.text, key, *error.key) from None
    except OverflowError:
        raise BadSettingError("too large a number", key) from None
    except ValueError as error:
        raise BadSettingError(str(error), key) from None


def secrets_of(raw: Any) -> dict[str, str]:  # noqa: ANN401 -- whatever TOML can hold
    """Name all that came from references, at any depth, with what is shown in its place."""
    if isinstance(raw, list | Mapping):
        found: dict[str, str] = {}
        for item in raw.values() if isinstance(raw, Mapping) else raw:
            found |= secrets_of(item)
        return found
    if not isinstance(raw, Text):
        return {}
    whole = ((text, raw.written) for text in (str(raw), *raw.split_list()))
    pairs = (*raw.parts, *(whole if raw.parts else ()))
    return {str(text): written for text, written in pairs if not _NO_SECRET.fullmatch(text)}

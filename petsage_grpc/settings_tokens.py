"""Reads files with bearer tokens, and refuses settings of authorisation that make no sense."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from petsage_grpc.settings import BadSettingError, Settings
from petsage_grpc.settings_references import Text, read_text

__all__ = ["LONGEST_TOKEN", "access_risks", "parse_tokens", "read_tokens", "refuse_bad_access",
           "risk_of_file", "shown"]  # fmt: skip

LONGEST_TOKEN: Final = 4096
"""Characters of the longest token."""
_SHORTEST: Final = 16
_MOST: Final = 1000
"""Tokens of one file: all of them are compared with each one that is sent."""
_MAKE_ONE: Final = "openssl rand -hex 32 makes one"


def parse_tokens(text: str) -> tuple[str, ...]:
    """Take the tokens out of a text that has one a line; lines without anything are left out.

    Raises ValueError saying what is wrong, and in which line, but never what stands there.
    """
    tokens = []
    for number, line in enumerate(text.splitlines(), start=1):
        token = line.strip()
        if not token:
            continue
        if not token.isascii() or not token.isprintable() or " " in token:
            raise ValueError(
                f"line {number} is no token: write letters, digits and signs of ASCII,"
                f" without spaces; {_MAKE_ONE}"
            )
        if not _SHORTEST <= len(token) <= LONGEST_TOKEN:
            raise ValueError(
                f"line {number} has {len(token)} characters, and a token from {_SHORTEST} to"
                f" {LONGEST_TOKEN}; {_MAKE_ONE}"
            )
        tokens.append(token)
    if not tokens:
        raise ValueError(f"has no token in it: write one in each line; {_MAKE_ONE}")
    if len(tokens) > _MOST:
        raise ValueError(f"has more than {_MOST} tokens: remove those that nobody uses")
    return tuple(dict.fromkeys(tokens))


def read_tokens(path: Path) -> tuple[str, ...]:
    """Read the tokens of a file. Raises ValueError as `parse_tokens` does."""
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        is_file = True  # why it can not be read is said better by who reads it
    if not is_file:  # a pipe would be waited for, and gives its tokens but once
        raise ValueError("is no file: it must be one that can be read again and again")
    return parse_tokens(read_text(path))


def shown(path: str) -> str:
    """Say which file is meant; not so what looks like a token that stands where a file should."""
    if isinstance(path, Text) and path.written:
        return repr(path)
    place = Path(path)
    if len(place.parent.parts) <= place.is_absolute():  # a token may begin with "/" by chance
        is_place = os.path.exists(place)  # noqa: PTH110 -- it never raises
    else:
        is_place = os.path.isdir(place.parent)  # noqa: PTH112 -- nor does this
    return repr(path) if is_place else "what stands there"


def refuse_bad_access(settings: Settings) -> None:
    """Raise BadSettingError for tokens that can not be read, or names that no certificate has."""
    for path in settings.token_files:
        try:
            read_tokens(Path(path))
        except ValueError as error:
            raise BadSettingError(f"{shown(path)} {error}", "token_files") from None
    for name in settings.client_names:
        if not name or not name.isprintable() or name != name.strip():
            raise BadSettingError(
                f'{name!r} is no name of a certificate: write it like "client.example",'
                ' "spiffe://example/client" or "monitoring"',
                "client_names",
            )


def risk_of_file(path: str) -> str:
    """Say what is wrong with who may read a file; nothing if all is well."""
    try:
        is_open = Path(path).stat().st_mode & stat.S_IROTH
    except (OSError, ValueError):
        return ""
    mend = "chmod o-r, or defaultMode: 0440 of a Kubernetes secret, keeps others out"
    return f"everybody on this machine can read {shown(path)}: {mend}" if is_open else ""


def access_risks(settings: Settings) -> Iterator[str]:
    """Say which settings of who is told details do not what they look like, one line for each."""
    for path in settings.token_files:
        if risk := risk_of_file(path):
            yield f"token_files: {risk}"
    given = [key for key in ("token_files", "client_names") if getattr(settings, key)]
    if settings.details != "authorized":
        if given:
            yield f'{" and ".join(given)}: of no use, for details = "{settings.details}"'
        return
    if settings.client_names and not settings.tls_client_ca:
        yield "client_names: no client shows a certificate, for tls_client_ca is not set"

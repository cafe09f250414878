"""Makes text fit to be shown and sent: no control characters, and no secrets."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, quote_plus

__all__ = ["plain", "printable", "redact", "utf8"]

_USER_INFO: Final = re.compile(r"(?<=://)[^\s/@?#'\"]*(?::[^\s/?#'\"]*)?@")
"""The user and the password in a URL, whoever wrote it."""

_WORD: Final = 4
"""Characters up to which a secret is replaced only where it stands alone: text stays readable."""


def plain(thing: object) -> str:
    """Give the text of anything, as a text of no class of its own; that of an error is not empty.

    It is that of another process, too, which has not the classes of this one.
    """
    if isinstance(thing, str):
        return str.__str__(thing)
    try:
        return str.__str__(str(thing)) or type(thing).__name__
    except BaseException:  # noqa: BLE001 -- somebody else's code, and it must be told all the same
        return type(thing).__name__


def printable(text: str) -> str:
    """Escape what does not print, line breaks too."""
    return text if text.isprintable() else "".join(map(_escape, text))


def _escape(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode()


def utf8(text: str) -> str:
    """Return a text that can be sent; raises ValueError when it can not."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("it is not UTF-8: write it so") from None
    return text


def redact(text: str, secrets: Mapping[str, str]) -> str:
    """Replace secrets in a text, also as a URL or a repr writes them, and the user in any URL.

    Args:
        text: what is to be shown.
        secrets: what must not be, and what is shown in its place.
    """
    written = {
        form: shown
        for secret, shown in secrets.items()
        for form in (secret, quote(secret, safe=""), quote_plus(secret), str.__repr__(secret)[1:-1])
    }
    for form in sorted(written, key=len, reverse=True):
        if len(form) > _WORD:
            text = text.replace(form, written[form])
        elif form in text:
            alone = rf"(?<![^\W_]){re.escape(form)}(?![^\W_])"
            text = re.sub(alone, lambda _, shown=written[form]: shown, text)  # type: ignore[misc]
    return _USER_INFO.sub("***@", text) if "@" in text else text

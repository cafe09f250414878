"""Makes text fit to be shown and sent: no control characters, and no secrets."""

import contextlib
import json
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import quote, quote_plus

__all__ = ["forms", "plain", "printable", "redact", "replace", "some", "utf8"]

_USER_INFO: Final = re.compile(r"(?:(?<=://)|(?<=:\\/\\/))[^\s/?#]*@")
"""The user and the password in a URL, whoever wrote it, be it in JSON; rather more than less."""

_SUB: Final = "!$&'()*+,;="
"""What a URL may leave as it is in the user and the password."""
_ESCAPED: Final = re.compile("%[0-9A-F]{2}")

_WORD: Final = 4
"""Characters up to which a secret is replaced only where it stands alone: text stays readable."""

_SHORTEST_PART: Final = 8
"""Characters from which a part of base64 is taken for the secret within."""
_FOR_URLS: Final = str.maketrans("+/", "-_")
_REPRS: Final = (repr, ascii)

_MOST_NAMED: Final = 10
"""Names that are named where there may be many."""


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


def some(names: Sequence[str]) -> str:
    """Name the first of these, and say how many more there are."""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def utf8(text: str) -> str:
    """Return a text that can be sent; raises ValueError when it can not."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("it is not UTF-8: write it so") from None
    return text


def redact(text: str, secrets: Mapping[str, str]) -> str:
    """Replace secrets in a text, however they are written there, and the user in any URL.

    A URL, JSON, the repr of a text or of its bytes, and base64 write them otherwise. In a longer
    text in base64, as of basic authentication, one of less than eight characters may be missed.

    Args:
        text: what is to be shown.
        secrets: what must not be, and what is shown in its place.
    """
    return replace(
        text, {form: shown for secret, shown in secrets.items() for form in forms(secret)}
    )


def replace(text: str, written: Mapping[str, str]) -> str:
    """Replace in a text what stands there just so, the longest first, and the user in any URL."""
    for form in sorted(written, key=len, reverse=True):
        if len(form) > _WORD:
            text = text.replace(form, written[form])
        elif form in text:
            alone = rf"(?<![^\W_]){re.escape(form)}(?![^\W_])"
            text = re.sub(alone, lambda _, shown=written[form]: shown, text)  # type: ignore[misc]
    return _USER_INFO.sub("***@", text) if "@" in text else text


def forms(secret: str) -> set[str]:
    """Say how a text may be written within others."""
    secret = str.__str__(secret)
    if not secret:
        return set()
    raw = secret.encode(errors="surrogatepass")
    found = {secret, *_quoted(raw), *_base64(raw)}
    with contextlib.suppress(UnicodeEncodeError):  # as some clients encode it for the header
        found.update(_base64(secret.encode("latin-1")))
    for quote_mark in ("", '"'):  # with both kinds in it, a repr escapes one
        found.update(write(quote_mark + secret)[1 + len(quote_mark) : -1] for write in _REPRS)
        found.add(repr(quote_mark.encode() + raw)[2 + len(quote_mark) : -1])
    found.update(json.dumps(secret, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False))
    return found


def _quoted(raw: bytes) -> Iterator[str]:
    for write, safe in ((quote, ""), (quote, "/"), (quote, " +"), (quote, _SUB), (quote_plus, "")):
        quoted = write(raw, safe)
        yield quoted
        yield _ESCAPED.sub(lambda match: match[0].lower(), quoted)


def _base64(raw: bytes) -> Iterator[str]:
    """Write bytes in base64 as they stand alone, and behind and before others."""
    for before, mixed in enumerate((0, 2, 3)):  # bytes, and the characters that hold part of them
        written = b64encode(bytes(before) + raw).decode()
        whole = written.rstrip("=")[mixed:]
        inner = whole if written[-1] != "=" else whole[:-1]
        for form in (whole, inner):
            if (form == whole and not before) or len(form) >= _SHORTEST_PART:
                yield form
                yield form.translate(_FOR_URLS)

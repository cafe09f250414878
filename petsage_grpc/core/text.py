"""Makes text fit to be shown and sent: what comes from elsewhere may have control characters."""

__all__ = ["printable", "utf8"]


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

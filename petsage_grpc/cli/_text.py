"""Makes any text fit to be shown in a terminal: what a server says may have control characters."""

__all__ = ["printable", "utf8"]


def printable(text: str) -> str:
    """Escape what does not print, line breaks too."""
    return text if text.isprintable() else "".join(map(_escape, text))


def _escape(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode()


def utf8(text: str) -> str:
    """Return a name from the command line; raises ValueError when it can not be sent."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("the name is not UTF-8; write it so") from None
    return text

"""What must never come of any input, whatever it is."""

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc

from petsage_grpc.errors import PetsageError

__all__ = ["ALLOWED", "NoErrorLines", "ends_well", "one_line", "refused"]

ALLOWED: Final = frozenset(
    {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED"}
    | {"PERMISSION_DENIED", "UNAUTHENTICATED"}
)
"""How a call may end; DEADLINE_EXCEEDED is a hang, UNKNOWN and INTERNAL an error of ours."""
_LONGEST: Final = 2000
"""Characters of what a refusal may say."""


class NoErrorLines(logging.Handler):
    """Keeps the log's errors and the tracebacks that went elsewhere; there must be none.

    The monitor alone may say, without a traceback, that a check fails.
    """

    def __init__(self) -> None:
        super().__init__()
        self._found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        told = record.name == "petsage_grpc.monitor" and not record.exc_info
        if record.exc_info or (record.levelno >= logging.ERROR and not told):
            self._found.append(logging.Formatter().format(record))

    def look(self) -> None:
        """Raise AssertionError when something was found since the last time."""
        found, self._found = self._found, []
        assert not found, "\n".join(found)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Listen inside of the block."""

        def unhandled(what: Any) -> None:
            self._found.append(f"unhandled: {what.exc_type.__name__}: {what.exc_value}")

        thread, unraisable = threading.excepthook, sys.unraisablehook
        threading.excepthook = sys.unraisablehook = unhandled
        logging.getLogger().addHandler(self)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(self)
            threading.excepthook, sys.unraisablehook = thread, unraisable


def one_line(text: str) -> None:
    """Refuse what would take more than a line of the terminal, or play with it."""
    assert text, "an error without a word"
    assert text.isprintable(), f"not one printable line: {text!r}"
    assert "Traceback" not in text


def refused(call: Callable[[], object], *errors: type[Exception]) -> bool:
    """Say whether a call refuses its input in the way that it should; another error is raised."""
    try:
        call()
    except PetsageError as error:
        one_line(str(error))
        return True
    except errors as error:
        if type(error) not in errors:  # a ValueError of Python's own is none that we meant
            raise
        return True
    return False


def ends_well(error: grpc.RpcError) -> None:
    """Raise AssertionError when a call must not end so."""
    code, details = error.code(), error.details() or ""
    assert code.name in ALLOWED, f"{code.name}: {details}"
    assert not details or details.isprintable(), f"not one printable line: {details!r}"
    assert len(details) <= _LONGEST, f"{len(details)} characters of details"

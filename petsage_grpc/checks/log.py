"""Knows whether what is logged comes out: it follows one line through the real logging pipeline."""

import asyncio
import functools
import logging
import queue
import secrets
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from logging import INFO, FileHandler, Handler, Logger, LogRecord, NullHandler, getLevelName
from logging.handlers import MemoryHandler, QueueHandler
from pathlib import Path
from typing import Any, ClassVar, Final

from petsage_grpc.checks._thread import run_blocking
from petsage_grpc.core.check import Check, CheckFailedError
from petsage_grpc.core.units import format_duration

__all__ = ["LogCheck"]

_LONGEST_WAIT = 60.0
"""Seconds after which a line in a queue is given up, if nobody has cancelled the run before."""

_TAIL: Final = 64 * 1024
_MARK: Final = "petsage_log_check"

# The lock guards these two and the state of each line; nothing is waited for while it is held.
_lock: Final = threading.Lock()
_lines: Final[dict[str, "_Line"]] = {}
_tapped: Final[dict[Handler, dict[str, Any]]] = {}


@dataclass(kw_only=True)
class LogCheck(Check):
    """Fails when a line that is logged comes out nowhere, or when a handler that takes it fails."""

    outside: ClassVar[bool] = False
    in_application: ClassVar[bool] = True

    logger: str = field(
        default="",
        metadata={"help": "logger at which a line is written; empty for the root logger"},
    )

    async def run(self) -> None:
        """Log one line and see what becomes of it."""
        line = _Line(self)
        with line.watched():
            await run_blocking(self, line.write, name="petsage log check")
            await line.come_out()
        if line.failed:
            raise CheckFailedError("; ".join(line.failed.values()))
        if not line.taken:
            raise CheckFailedError(f"the line came out nowhere: {'; '.join(line.refused)}")


class _Line:
    """One line on its way: where it has to come yet, and what became of it at each handler."""

    def __init__(self, check: LogCheck) -> None:
        self.failed: dict[Handler, str] = {}
        self.refused: list[str] = []
        self.taken = False
        self.nonce = secrets.token_hex(8)
        self._mark = secrets.token_hex(8)  # apart: a formatter may write it without the message
        self._check = check
        self._logger = logging.getLogger(check.logger)
        self._loop = asyncio.get_running_loop()
        self._moved = asyncio.Event()
        self._behind: dict[Handler, list[Handler]] = {}  # those to which a handler hands it on
        self._pending: dict[Handler, str] = {}
        self._reached = False
        at: Logger | None = self._logger
        while at is not None:
            self._follow(at.handlers)
            at = at.parent if at.propagate else None

    def _follow(self, handlers: Iterable[Handler], *, by_level: bool = True) -> list[Handler]:
        """Find out which of the handlers will be given the line, and which stand behind those."""
        given = [h for h in handlers if not isinstance(h, NullHandler)]
        if by_level:
            self.refused += [f"the level of {h!r} is above INFO" for h in given if h.level > INFO]
            given = [h for h in given if h.level <= INFO]
        for handler in given:
            self._behind[handler] = []
            if isinstance(handler, MemoryHandler) and handler.target:
                self._behind[handler] = self._follow([handler.target], by_level=False)
            elif isinstance(handler, QueueHandler):
                if listener := getattr(handler, "listener", None):
                    self._behind[handler] = self._follow(
                        listener.handlers, by_level=listener.respect_handler_level
                    )
                else:
                    self.fail(handler, "has no known listener: set handler.listener = listener")
        return given

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Stand before the handlers on the way; the last run to end lets go of all of them."""
        try:
            with _lock:
                _lines[self._mark] = self
                for handler in self._behind.keys() - _tapped.keys():
                    own = vars(handler)
                    _tapped[handler] = {name: own[name] for name in own.keys() & _STAND_INS.keys()}
                    for name, stand_in in _STAND_INS.items():
                        own[name] = functools.partial(stand_in, handler, getattr(handler, name))
            yield
        finally:
            with _lock:
                del _lines[self._mark]
                while _tapped and not _lines:
                    handler, before = _tapped.popitem()
                    vars(handler).update(before)
                    for name in _STAND_INS.keys() - before.keys():
                        vars(handler).pop(name, None)

    def write(self) -> None:
        """Log the line as everybody does; called on a thread, for a handler may block."""
        name = f"the logger {self._logger.name}"
        self._check.doing = f"writing a line to {name}"
        try:
            self._logger.info("log check %s", self.nonce, extra={_MARK: self._mark})
        except Exception as error:
            raise CheckFailedError(f"{name} {_why(error)}") from error
        if self._reached:
            return
        off, level = self._logger.manager.disable, self._logger.getEffectiveLevel()
        if not self._behind:
            self.refused.append(f"{name} has no handler for INFO: add one, as basicConfig does")
        elif off >= INFO:
            self.refused.append(f"logging.disable({getLevelName(off)}) swallows it")
        elif self._logger.disabled:
            self.refused.append(
                f"{name} is disabled: dictConfig needs disable_existing_loggers = false"
            )
        elif level > INFO:
            self.refused.append(f"{name} has the level {getLevelName(level)}: lower it to INFO")
        else:
            self.refused.append(f"a filter of {name} swallows it")

    async def come_out(self) -> None:
        """Wait for the sinks behind queues; not on a thread, so that it ends when cancelled."""
        try:
            async with asyncio.timeout(_LONGEST_WAIT):
                while self._pending:
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            limit = format_duration(_LONGEST_WAIT)
            raise CheckFailedError(f"gave up after {limit} {self._check.doing}") from None

    def begin(self, handler: Handler) -> None:
        """Note that a handler is given the line."""
        with _lock:
            self._reached = True
            for other in self._behind.get(handler, ()):
                text = f"waiting for the line to come out at {other!r} behind {handler!r}"
                self._pending[other] = f"{text} (does its listener run?)"
            self._pending.pop(handler, None)  # last is where it is now, before where it has to come
            self._pending[handler] = f"writing the line to {handler!r}"
            self._tell()

    def fail(self, handler: Handler, why: str) -> None:
        """Note that a handler lost the line; what is said first is the cause."""
        self.failed.setdefault(handler, f"{handler!r} {why}")

    def end(self, handler: Handler, *, refused: bool) -> None:
        """Note that a handler is through with the line."""
        behind = self._behind.get(handler, [])
        with _lock:
            self._pending.pop(handler, None)
            if refused:
                self.refused.append(f"a filter of {handler!r} swallows it")
            elif not isinstance(handler, QueueHandler | MemoryHandler):
                self.taken = True
            elif not behind:
                self.refused.append(f"no handler that takes INFO is behind {handler!r}")
            if refused or handler in self.failed:
                for other in behind:
                    self._pending.pop(other, None)
            self._tell()

    def _tell(self) -> None:
        if _lines.get(self._mark) is self:  # or `doing` is a later run's
            self._check.doing = next(reversed(self._pending.values()), self._check.doing)
            with suppress(RuntimeError):  # the loop may be closed by now
                self._loop.call_soon_threadsafe(self._moved.set)


def _handle(handler: Handler, handle: Callable[[LogRecord], object], record: LogRecord) -> object:
    line = _line_of(record)
    if line is None:
        return handle(record)
    line.begin(handler)
    result: object = None
    try:
        result = handle(record)
    except Exception as error:  # noqa: BLE001 -- let through, it would end a listener's thread
        line.fail(handler, _why(error))
    line.end(handler, refused=result is False)
    return result


def _emit(handler: Handler, emit: Callable[[LogRecord], None], record: LogRecord) -> None:
    emit(record)
    line = _line_of(record)
    if line is None:
        return
    if line.nonce not in str(handler.format(record)):
        line.fail(handler, "has a formatter that drops the message")
    elif isinstance(handler, MemoryHandler):
        handler.flush()
    elif isinstance(handler, FileHandler):  # its lock is held: no rotation comes in between
        _read_back(handler, line.nonce)


def _handle_error(handler: Handler, handle: Callable[[LogRecord], None], record: LogRecord) -> None:
    line = _line_of(record)
    if line is None:
        handle(record)
    else:
        line.fail(handler, _why(sys.exception()))


_STAND_INS: Final[dict[str, Callable[..., Any]]] = {
    "handle": _handle,
    "emit": _emit,
    "handleError": _handle_error,
}
"""What stands before the methods of a handler; it lets every record through but our lines."""


def _line_of(record: LogRecord) -> _Line | None:
    return _lines.get(getattr(record, _MARK, ""))


def _why(error: BaseException | None) -> str:
    if isinstance(error, queue.Full):
        return "has a full queue: what is behind it stands still or is too slow"
    if isinstance(error, CheckFailedError):
        return str(error)
    return " ".join(f"raised {type(error).__name__}: {error}".split()).removesuffix(":")


def _read_back(handler: FileHandler, nonce: str) -> None:
    """Find the line in the file of that name, which need not be the one that is written to."""
    handler.flush()
    path, tail = Path(handler.baseFilename), b""
    if path.exists() and not path.is_file():  # a terminal or a pipe gives nothing back
        return
    try:
        with suppress(FileNotFoundError), path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            tail = file.read().replace(b"\0", b"")  # UTF-16 is like ASCII then
    except OSError as error:
        raise CheckFailedError(f"wrote a line that can not be read back: {error}") from error
    if nonce.encode() not in tail:
        raise CheckFailedError(
            f"wrote a line that is not in {path}: the file was deleted or rotated away, and this"
            " handler does not follow it as WatchedFileHandler does"
        )

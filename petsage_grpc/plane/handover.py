"""Hands the plane's log lines to the application's handlers on a thread: those may block."""

import contextlib
import logging
import os
import queue
import threading
from collections.abc import Sequence
from typing import Final

__all__ = ["HANDOVER", "LogHandover"]

_QUEUE_SIZE: Final = 1_000
_LAST_LINES: Final = 1.0
"""Seconds that handlers get to take what is left."""


class _Handler(logging.Handler):
    """Puts records into a queue; those that find it full are dropped.

    Args:
        logger: whose handlers it stands for.
    """

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__()
        self.handlers = [*logger.handlers]
        self.propagate = logger.propagate
        self.above = logger.parent
        self.records: queue.Queue[logging.LogRecord | None] = queue.Queue(_QUEUE_SIZE)

    def createLock(self) -> None:  # noqa: N802 -- logging's name
        """Do without: a fork or a signal could come while it is held."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Take a record, without the lock that the base takes."""
        with contextlib.suppress(queue.Full):  # nowhere to complain of a log that does not move
            self.records.put_nowait(record)
        return True

    def hand_over(self) -> None:
        """Give what was taken to those it was meant for, until there is a None."""
        while (record := self.records.get()) is not None:
            # A handler of the application's must not end it.
            with contextlib.suppress(Exception):
                _give(record, self.handlers)
            with contextlib.suppress(Exception):
                if self.propagate and self.above is not None:
                    self.above.callHandlers(record)


def _give(record: logging.LogRecord, handlers: Sequence[logging.Handler]) -> None:
    for handler in handlers:
        if record.levelno >= handler.level:
            handler.handle(record)


class LogHandover:
    """Takes what a logger gets and gives it to its handlers and those above, on a thread.

    It is begun by each plane of a process and serves all of them; the last to end it ends it.
    Handlers that are put on the logger itself meanwhile are called where the lines are written.

    Args:
        name: of the logger.
    """

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)
        self._lock = threading.RLock()  # a signal handler may stop a plane in the midst of it
        self._users = 0
        self._handler: _Handler | None = None
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Begin to take lines."""
        with self._lock:
            if not self._users:
                self._take_over()
            self._users += 1

    def end(self) -> None:
        """Take no more, and wait a little until the handlers have what was taken."""
        with self._lock:
            self._users -= 1
            if self._users or self._handler is None or self._thread is None:
                return
            handler, self._handler = self._handler, None
            thread = self._thread
            self._give_back(handler)
        with contextlib.suppress(queue.Full):  # then the thread is stuck, and is left behind
            handler.records.put_nowait(None)
            if thread is not threading.current_thread():  # a handler may stop the plane
                thread.join(_LAST_LINES)

    def abandon(self) -> None:
        """Take no more in a child that was forked: the thread runs in its parent."""
        self._lock = threading.RLock()
        handler, self._handler, self._users = self._handler, None, 0
        if handler is not None:
            self._give_back(handler)

    def _take_over(self) -> None:
        handler = _Handler(self._logger)
        try:
            self._logger.addHandler(handler)
            for instead in handler.handlers:
                self._logger.removeHandler(instead)
            self._logger.propagate = False
            self._thread = threading.Thread(
                target=handler.hand_over, name="petsage log handover", daemon=True
            )
            self._thread.start()
        except BaseException:  # such as an interrupt: the lines go where they went before
            self._give_back(handler)
            handler.records.put_nowait(None)
            raise
        self._handler = handler

    def _give_back(self, handler: _Handler) -> None:
        """Make the logger what it was, unless somebody has configured it anew."""
        if handler not in self._logger.handlers:
            return
        self._logger.removeHandler(handler)
        self._logger.propagate = handler.propagate
        for before in handler.handlers:
            self._logger.addHandler(before)


HANDOVER: Final = LogHandover("petsage_grpc")
"""The one for all that this package logs."""

os.register_at_fork(after_in_child=HANDOVER.abandon)

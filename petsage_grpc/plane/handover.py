"""Hands the plane's log lines to the application's handlers on a thread: those may block."""

import contextlib
import logging
import queue
import threading
from typing import Final

__all__ = ["LogHandover"]

_QUEUE_SIZE: Final = 1_000
_LAST_LINES: Final = 1.0
"""Seconds that handlers get to take what is left."""

_Records = queue.Queue[logging.LogRecord | None]


class _Handler(logging.Handler):
    """Puts records into a queue; those that find it full are dropped."""

    def __init__(self, records: _Records) -> None:
        super().__init__()
        self.records = records

    def createLock(self) -> None:  # noqa: N802 -- logging's name
        """Do without: a fork or a signal could come while it is held."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(queue.Full):  # nowhere to complain of a log that does not move
            self.records.put_nowait(record)


class LogHandover:
    """Takes what a logger gets and gives it to the handlers above, on a thread of its own.

    It is begun by each plane of a process and serves all of them; the last to end it ends it.

    Args:
        name: of the logger.
    """

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)
        self._lock = threading.Lock()
        self._users = 0
        self._handler: _Handler | None = None
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Begin to take lines."""
        with self._lock:
            self._users += 1
            if self._users > 1:
                return
            self._handler = _Handler(queue.Queue(_QUEUE_SIZE))
            self._logger.addHandler(self._handler)
            self._logger.propagate = False
            self._thread = threading.Thread(
                target=_hand_over,
                args=(self._handler.records, self._logger.parent),
                name="petsage log handover",
                daemon=True,
            )
            self._thread.start()

    def end(self) -> None:
        """Take no more, and wait a little until the handlers have what was taken."""
        with self._lock:
            self._users -= 1
            if self._users or self._handler is None or self._thread is None:
                return
            self._logger.propagate = True
            self._logger.removeHandler(self._handler)
            with contextlib.suppress(queue.Full):  # then the thread is stuck, and is left behind
                self._handler.records.put_nowait(None)
                self._thread.join(_LAST_LINES)


def _hand_over(records: _Records, logger: logging.Logger) -> None:
    while (record := records.get()) is not None:
        with contextlib.suppress(Exception):  # a handler of the application's must not end it
            logger.handle(record)


HANDOVER: Final = LogHandover("petsage_grpc")
"""The one for all that this package logs."""

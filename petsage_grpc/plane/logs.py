"""The service's own log: a full or broken standard output never blocks who writes a line."""

import logging
import logging.handlers
import queue
import sys
import threading
from types import TracebackType
from typing import Final, Self, TextIO

__all__ = ["LogPipeline"]

_QUEUE_SIZE: Final = 1_000
_FORMAT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class _QueueHandler(logging.handlers.QueueHandler):
    """Hands records over without waiting; those that find the queue full are dropped."""

    listener: logging.handlers.QueueListener | None

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- logging's name
        """Drop the record: there is nowhere to complain of a log that does not move."""


class _QueueListener(logging.handlers.QueueListener):
    def enqueue_sentinel(self) -> None:
        """Ask the thread to end, waiting for room in a full queue, where the base would raise."""
        self.queue.put(None)  # type: ignore[attr-defined]  # ours is a queue.Queue


class _Sink(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- logging's name
        """Drop the record: the log check reports that lines do not come out."""


class LogPipeline:
    """Sends what the root logger gets to a stream by way of a bounded queue and a thread.

    Used as a context manager, around the whole life of the service.

    Args:
        level: least level that is logged.
        stream: where the lines come out, standard output if not given.
    """

    def __init__(self, level: str, stream: TextIO | None = None) -> None:
        self._level = level
        sink = _Sink(stream or sys.stdout)
        sink.setFormatter(logging.Formatter(_FORMAT))
        records: queue.Queue[logging.LogRecord] = queue.Queue(_QUEUE_SIZE)
        self._handler = _QueueHandler(records)
        self._stopper: threading.Thread | None = None
        self._handler.listener = _QueueListener(records, sink)

    def __enter__(self) -> Self:
        root = logging.getLogger()
        root.setLevel(self._level)
        root.addHandler(self._handler)
        assert self._handler.listener is not None
        self._handler.listener.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        logging.getLogger().removeHandler(self._handler)

    def close(self, timeout: float) -> bool:
        """Let what is queued come out, at most for `timeout` seconds, and say whether it did.

        What is logged after it goes nowhere.
        """
        if self._stopper is None:
            assert self._handler.listener is not None
            # A blocked sink would hold stop() for ever, so it waits on a thread that may be left.
            self._stopper = threading.Thread(target=self._handler.listener.stop, daemon=True)
            self._stopper.start()
        self._stopper.join(timeout)
        return not self._stopper.is_alive()

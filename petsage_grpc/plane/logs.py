"""The service's own log: it never blocks who writes a line, and no line of it holds a secret."""

import logging
import logging.handlers
import queue
import sys
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final, Self, TextIO

from petsage_grpc.core.check import Check
from petsage_grpc.core.text import forms, replace

__all__ = ["LogPipeline", "Redactor"]

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


class _Formatter(logging.Formatter):
    """Writes a record, its traceback too, without secrets."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__(_FORMAT)
        self.redact = redact

    def format(self, record: logging.LogRecord) -> str:
        return self.redact(super().format(record))


class Redactor:
    """Replaces in a text what any of the checks hides; from any thread.

    Args:
        checks: they may hide more at any time.
    """

    def __init__(self, checks: Iterable[Check]) -> None:
        self._checks = list(checks)
        self._seen: tuple[int, ...] = ()
        self._written: dict[str, str] = {}

    def add(self, check: Check) -> None:
        """Replace what one more check hides."""
        self._checks.append(check)

    def __call__(self, text: str) -> str:
        """Give back the text without secrets."""
        seen = tuple(len(check.secrets) for check in self._checks)
        if seen != self._seen:
            secrets = {s: shown for check in self._checks for s, shown in check.secrets.items()}
            self._written = {form: shown for s, shown in secrets.items() for form in forms(s)}
            self._seen = seen
        return replace(text, {form: to for form, to in self._written.items() if form in text})


class LogPipeline:
    """Sends what the root logger gets to a stream by way of a bounded queue and a thread.

    Used as a context manager, around the whole life of the service.

    Args:
        level: least level that is logged.
        stream: where the lines come out, standard output if not given.
        redact: makes each line fit to be shown.
    """

    def __init__(
        self,
        level: str,
        stream: TextIO | None = None,
        redact: Callable[[str], str] | None = None,
    ) -> None:
        self._level = level
        sink = _Sink(stream or sys.stdout)
        self._formatter = _Formatter(redact or Redactor(()))
        sink.setFormatter(self._formatter)
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

    def set_redactor(self, redact: Callable[[str], str]) -> None:
        """Make each line fit to be shown by another function from now on."""
        self._formatter.redact = redact

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

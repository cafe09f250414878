"""The plane's log lines reach the application's handlers, however these are and are configured."""

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from petsage_grpc.plane.handover import LogHandover
from tests.processes import PATIENCE


class Sink(logging.Handler):
    """Notes what it gets, and on which thread; it blocks while the test says so."""

    def __init__(self, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self.lines: list[str] = []
        self.threads: set[str] = set()
        self.entered = threading.Event()
        self.free = threading.Event()
        self.free.set()
        self.error: Exception | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self.entered.set()
        assert self.free.wait(PATIENCE)
        self.threads.add(threading.current_thread().name)
        self.lines.append(record.getMessage())
        if self.error is not None:
            raise self.error


@pytest.fixture
def parent() -> Iterator[logging.Logger]:
    """A logger like an application's root, of which nothing is left."""
    logger = logging.getLogger("tests.handover")
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    yield logger
    logger.handlers.clear()


@pytest.fixture
def logger(parent: logging.Logger) -> Iterator[logging.Logger]:
    """A logger like that of the package."""
    logger = parent.getChild("package")
    yield logger
    logger.handlers.clear()
    logger.propagate = True


@pytest.fixture
def handover(logger: logging.Logger) -> LogHandover:
    return LogHandover(logger.name)


def test_lines_of_all_loggers_below_reach_the_handlers_above_on_another_thread(
    parent: logging.Logger, logger: logging.Logger, handover: LogHandover
) -> None:
    sink = Sink()
    parent.addHandler(sink)
    handover.begin()
    logger.info("one")
    logger.getChild("part").info("%s", "two")
    handover.end()
    assert sink.lines == ["one", "two"]
    assert sink.threads == {"petsage log handover"}


def test_who_writes_lines_waits_for_no_handler_and_the_lines_come_out_later(
    parent: logging.Logger, logger: logging.Logger, handover: LogHandover
) -> None:
    sink = Sink()
    sink.free.clear()
    parent.addHandler(sink)
    handover.begin()
    for number in range(10):
        logger.info("line %d", number)
    assert sink.entered.wait(PATIENCE)
    assert sink.lines == []
    sink.free.set()
    handover.end()
    assert sink.lines == [f"line {number}" for number in range(10)]


def test_of_more_lines_than_fit_the_last_are_dropped_and_the_end_comes_all_the_same(
    parent: logging.Logger, logger: logging.Logger, handover: LogHandover,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("petsage_grpc.plane.handover._LAST_LINES", 0.01)
    sink = Sink()
    sink.free.clear()
    parent.addHandler(sink)
    handover.begin()
    logger.info("first")
    assert sink.entered.wait(PATIENCE)
    for number in range(2_000):
        logger.info("line %d", number)
    handler, thread = handover._handler, handover._thread
    assert handler is not None
    assert thread is not None
    assert handler.records.qsize() == 1_000
    handover.end()
    assert not logger.handlers
    sink.free.set()
    handler.records.put(None, timeout=PATIENCE)
    thread.join(PATIENCE)
    assert len(sink.lines) == 1_001


def test_a_handler_that_raises_ends_nothing(
    parent: logging.Logger, logger: logging.Logger, handover: LogHandover
) -> None:
    raising, sink = Sink(), Sink()
    raising.error = RuntimeError("full")
    logger.addHandler(raising)
    parent.addHandler(sink)
    handover.begin()
    logger.info("one")
    logger.info("two")
    handover.end()
    assert (raising.lines, sink.lines) == (["one", "two"], ["one", "two"])


@pytest.mark.parametrize("propagate", [True, False])
def test_handlers_of_the_logger_itself_get_the_lines_too_as_it_was_configured(
    parent: logging.Logger, logger: logging.Logger, handover: LogHandover, propagate: bool
) -> None:
    own, errors, above = Sink(), Sink(logging.ERROR), Sink()
    logger.addHandler(own)
    logger.addHandler(errors)
    logger.propagate = propagate
    parent.addHandler(above)
    handover.begin()
    logger.info("one")
    handover.end()
    assert (own.lines, errors.lines, above.lines) == (["one"], [], ["one"] * propagate)
    assert own.threads == {"petsage log handover"}
    assert (logger.propagate, logger.handlers) == (propagate, [own, errors])
    logger.error("two")
    assert (own.lines[1:], errors.lines, above.lines[1:]) == (["two"], ["two"], ["two"] * propagate)


def test_a_configuration_that_is_made_meanwhile_stays(
    logger: logging.Logger, handover: LogHandover
) -> None:
    old, new = Sink(), Sink()
    logger.addHandler(old)
    handover.begin()
    logger.handlers.clear()
    logger.addHandler(new)
    logger.propagate = False
    handover.end()
    assert (logger.handlers, logger.propagate) == ([new], False)


def test_it_serves_several_planes_until_the_last_of_them_ends(
    parent: logging.Logger, logger: logging.Logger, handover: LogHandover
) -> None:
    sink = Sink()
    parent.addHandler(sink)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(8):
            pool.submit(handover.begin)
    assert len(logger.handlers) == 1
    for _ in range(7):
        handover.end()
    logger.info("still")
    handover.end()
    assert (sink.lines, sink.threads) == (["still"], {"petsage log handover"})
    assert (logger.handlers, logger.propagate) == ([], True)


def test_a_signal_handler_may_end_it_for_one_plane_in_the_midst_of_another_s_end(
    logger: logging.Logger, handover: LogHandover
) -> None:
    with ThreadPoolExecutor(1) as pool:  # where a deadlock would not hold up the test
        pool.submit(handover.begin).result(PATIENCE)
        handover.begin()

        def end_within() -> None:
            with handover._lock:  # the handler comes while this thread holds it
                handover.end()
            handover.end()

        pool.submit(end_within).result(PATIENCE)
    assert (logger.handlers, logger.propagate) == ([], True)


def test_a_handler_may_end_it(
    parent: logging.Logger, logger: logging.Logger, handover: LogHandover
) -> None:
    ended = threading.Event()

    class Ending(Sink):
        """One that stops the plane when it gets a line."""

        def emit(self, record: logging.LogRecord) -> None:
            handover.end()
            super().emit(record)
            ended.set()

    parent.addHandler(Ending())
    handover.begin()
    logger.error("it does not work")
    assert ended.wait(PATIENCE)
    assert (logger.handlers, logger.propagate) == ([], True)


def test_a_forked_child_logs_by_itself(
    parent: logging.Logger, logger: logging.Logger, handover: LogHandover
) -> None:
    sink = Sink()
    parent.addHandler(sink)
    handover.begin()
    thread, handler = handover._thread, handover._handler
    assert thread is not None
    assert handler is not None
    handover.abandon()  # as it is done in the child, where the thread does not run
    logger.info("one")
    assert sink.threads == {threading.current_thread().name}
    handover.begin()
    logger.info("two")
    handover.end()
    assert sink.lines == ["one", "two"]
    handler.records.put(None)
    thread.join(PATIENCE)

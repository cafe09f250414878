"""The log check sees a line come out of real pipelines, and names the part that loses it."""

import asyncio
import io
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from logging import Handler, Logger, LogRecord
from logging.handlers import (
    BufferingHandler,
    MemoryHandler,
    QueueHandler,
    QueueListener,
    RotatingFileHandler,
    WatchedFileHandler,
)
from pathlib import Path

import pytest

from petsage_grpc.checks import log
from petsage_grpc.checks.log import LogCheck
from petsage_grpc.core.check import CheckFailedError


def private(name: str) -> Logger:
    """Return a logger without a parent: pytest adds handlers to those that do not propagate."""
    logger = logging.getLogger(name)
    logger.parent = None
    logger.setLevel(logging.INFO)
    return logger


@pytest.fixture
def logger(request: pytest.FixtureRequest) -> Iterator[Logger]:
    logger = private(request.node.name)
    yield logger
    for handler in logger.handlers[:]:
        assert not stand_ins(handler), "a handler is left with what the check put before it"
        logger.removeHandler(handler)
        with suppress(OSError, ValueError):
            handler.close()
    for thread in threading.enumerate():
        if thread.name == "petsage log check":
            thread.join(5)
            assert not thread.is_alive(), "a thread is left"


def stand_ins(handler: Handler) -> set[str]:
    return {"handle", "emit", "format", "handleError"} & vars(handler).keys()


def streaming(to: io.TextIOBase | None = None) -> logging.StreamHandler[io.TextIOBase]:
    return logging.StreamHandler(to or io.StringIO())


def lines(handler: logging.StreamHandler[io.TextIOBase]) -> list[str]:
    assert isinstance(handler.stream, io.StringIO)
    return handler.stream.getvalue().splitlines()


def queueing(size: int = 0) -> tuple[QueueHandler, "queue.Queue[LogRecord]"]:
    records: queue.Queue[LogRecord] = queue.Queue(size)
    return QueueHandler(records), records


@contextmanager
def listening(*sinks: Handler, respect_handler_level: bool = False) -> Iterator[QueueHandler]:
    handler, records = queueing()
    listener = QueueListener(records, *sinks, respect_handler_level=respect_handler_level)
    handler.listener = listener  # type: ignore[attr-defined,unused-ignore]
    listener.start()
    try:
        yield handler
    finally:
        listener.stop()


class FullPipe(io.TextIOWrapper):
    """A real pipe that is full and that nobody reads, until `drain` does."""

    def __init__(self) -> None:
        self._read_end, write_end = os.pipe()
        super().__init__(os.fdopen(write_end, "wb"))
        self.entered = threading.Event()
        os.set_blocking(write_end, False)
        with suppress(BlockingIOError):
            while os.write(write_end, b" " * 1024):
                pass
        os.set_blocking(write_end, True)

    def write(self, text: str, /) -> int:
        self.entered.set()
        return super().write(text)

    async def reached(self) -> None:
        assert await asyncio.to_thread(self.entered.wait, 5), "nothing was written to the pipe"

    def drain(self) -> None:
        os.read(self._read_end, 1 << 20)

    def close(self) -> None:
        if not self.closed:
            os.close(self._read_end)
        with suppress(BrokenPipeError):
            super().close()


@pytest.fixture
def pipe() -> Iterator[FullPipe]:
    with FullPipe() as pipe:
        yield pipe


async def failure(check: LogCheck) -> str:
    with pytest.raises(CheckFailedError) as failed:
        async with asyncio.timeout(5):
            await check.run()
    assert "\n" not in str(failed.value)
    return str(failed.value)


async def passes(logger: Logger) -> None:
    async with asyncio.timeout(5):
        await LogCheck(logger=logger.name).run()


# Pipelines that work


async def test_a_line_with_a_fresh_nonce_comes_out_at_a_stream(logger: Logger) -> None:
    handler = streaming()
    logger.addHandler(handler)
    await passes(logger)
    await passes(logger)
    first, second = lines(handler)
    assert first.startswith("log check ")
    assert first != second


async def test_it_comes_out_once_at_every_handler(logger: Logger) -> None:
    handlers = [streaming(), streaming()]
    for handler in handlers:
        logger.addHandler(handler)
    await passes(logger)
    assert len(lines(handlers[0])) == 1
    assert lines(handlers[0]) == lines(handlers[1])


async def test_it_follows_the_line_to_the_handlers_of_the_parents(logger: Logger) -> None:
    handler = streaming()
    logger.addHandler(handler)
    await passes(logger.getChild("a.b"))
    assert len(lines(handler)) == 1


async def test_the_root_logger_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    handler, root = streaming(), logging.getLogger()
    monkeypatch.setattr(root, "handlers", [handler])
    monkeypatch.setattr(root, "level", logging.INFO)
    root.manager._clear_cache()  # type: ignore[attr-defined]
    await LogCheck().run()
    assert len(lines(handler)) == 1
    monkeypatch.undo()
    root.manager._clear_cache()  # type: ignore[attr-defined]


async def test_it_comes_out_behind_a_queue(logger: Logger) -> None:
    sinks = [streaming(), streaming()]
    with listening(*sinks) as handler:
        logger.addHandler(handler)
        await passes(logger)
    assert len(lines(sinks[0])) == 1
    assert lines(sinks[0]) == lines(sinks[1])
    assert not any(stand_ins(sink) for sink in sinks)


async def test_it_comes_out_behind_two_queues_and_a_buffer(logger: Logger) -> None:
    sink = streaming()
    with listening(MemoryHandler(100, target=sink)) as inner, listening(inner) as outer:
        logger.addHandler(outer)
        await passes(logger)
    assert len(lines(sink)) == 1


async def test_a_formatter_on_the_queue_handler_is_followed(logger: Logger) -> None:
    sink = streaming()
    with listening(sink) as handler:
        handler.setFormatter(logging.Formatter('{"message": "%(message)s"}'))
        logger.addHandler(handler)
        await passes(logger)
    assert lines(sink)[0].startswith('{"message": "log check ')


async def test_a_listener_that_respects_levels_leaves_a_sink_out(logger: Logger) -> None:
    sink, errors = streaming(), streaming()
    errors.setLevel(logging.ERROR)
    with listening(sink, errors, respect_handler_level=True) as handler:
        logger.addHandler(handler)
        await passes(logger)
    assert (len(lines(sink)), len(lines(errors))) == (1, 0)


async def test_a_listener_that_respects_no_levels_is_expected_at_every_sink(logger: Logger) -> None:
    errors = streaming()
    errors.setLevel(logging.ERROR)
    with listening(errors) as handler:
        logger.addHandler(handler)
        await passes(logger)
    assert len(lines(errors)) == 1


async def test_a_buffer_gives_out_the_line_with_all_that_was_in_it(logger: Logger) -> None:
    sink = streaming()
    logger.addHandler(MemoryHandler(100, target=sink))
    logger.info("before")
    await passes(logger)
    assert lines(sink)[0] == "before"
    assert len(lines(sink)) == 2


async def test_a_buffer_gives_the_line_to_its_target_whatever_the_level(logger: Logger) -> None:
    target = streaming()
    target.setLevel(logging.ERROR)
    logger.addHandler(MemoryHandler(100, target=target))
    await passes(logger)
    assert len(lines(target)) == 1


async def test_a_sink_that_stands_in_two_places_is_one_sink(logger: Logger) -> None:
    sink = streaming()
    with listening(sink) as handler:
        logger.addHandler(handler)
        logger.addHandler(sink)
        await passes(logger)
    assert len(lines(sink)) == 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
async def test_it_is_read_back_from_a_file(logger: Logger, tmp_path: Path, encoding: str) -> None:
    logger.addHandler(logging.FileHandler(tmp_path / "log", encoding=encoding))
    for _ in range(2):
        logger.info("x" * 100_000)
        await passes(logger)


async def test_it_is_read_back_from_a_file_behind_a_queue(logger: Logger, tmp_path: Path) -> None:
    file = logging.FileHandler(tmp_path / "log", delay=True)
    with listening(file) as handler:
        logger.addHandler(handler)
        await passes(logger)
    file.close()


async def test_a_file_handler_that_writes_late_is_made_to_write(
    logger: Logger, tmp_path: Path
) -> None:
    class Late(logging.FileHandler):
        def emit(self, record: LogRecord) -> None:
            assert self.stream is not None
            self.stream.write(self.format(record) + "\n")

    logger.addHandler(Late(tmp_path / "log"))
    await passes(logger)


async def test_a_file_that_its_handler_rotates_each_time_passes(
    logger: Logger, tmp_path: Path
) -> None:
    logger.addHandler(RotatingFileHandler(tmp_path / "log", maxBytes=1, backupCount=2))
    for _ in range(3):
        await passes(logger)


async def test_a_file_that_is_rotated_by_busy_threads_at_the_same_time_passes(
    logger: Logger, tmp_path: Path
) -> None:
    logger.addHandler(RotatingFileHandler(tmp_path / "log", maxBytes=1, backupCount=1))
    with busy(logger):
        for _ in range(30):
            await passes(logger)


async def test_a_file_that_is_rotated_away_passes_when_its_handler_follows(
    logger: Logger, tmp_path: Path
) -> None:
    logger.addHandler(WatchedFileHandler(tmp_path / "log"))
    await passes(logger)
    move(tmp_path / "log")
    await passes(logger)


async def test_a_file_that_is_truncated_in_place_passes(logger: Logger, tmp_path: Path) -> None:
    logger.addHandler(logging.FileHandler(tmp_path / "log"))
    await passes(logger)
    os.truncate(tmp_path / "log", 0)
    await passes(logger)


async def test_a_device_in_place_of_a_file_is_not_read_back(logger: Logger) -> None:
    logger.addHandler(logging.FileHandler(os.devnull))
    await passes(logger)


async def test_handlers_that_do_not_take_the_line_do_not_matter_beside_one_that_does(
    logger: Logger,
) -> None:
    errors, others, sink = streaming(), streaming(), streaming()
    errors.setLevel(logging.ERROR)
    others.addFilter(lambda record: "log check" not in record.getMessage())
    for handler in (logging.NullHandler(), errors, others, sink):
        logger.addHandler(handler)
    await passes(logger)
    assert [len(lines(handler)) for handler in (errors, others, sink)] == [0, 0, 1]


async def test_a_handler_of_another_make_passes_when_it_raises_nothing(logger: Logger) -> None:
    taken: list[LogRecord] = []

    class Collecting(Handler):
        def handle(self, record: LogRecord) -> None:  # type: ignore[override]
            taken.append(record)

    logger.addHandler(Collecting())
    await passes(logger)
    assert [record.levelno for record in taken] == [logging.INFO]


# Lines that are swallowed


async def test_no_handler_at_all_is_told(logger: Logger) -> None:
    assert await failure(LogCheck(logger=logger.name)) == (
        f"the line came out nowhere: the logger {logger.name} has no handler for INFO:"
        " add one, as basicConfig does"
    )


async def test_a_null_handler_is_no_sink(logger: Logger) -> None:
    logger.addHandler(logging.NullHandler())
    assert "has no handler for INFO" in await failure(LogCheck(logger=logger.name))


async def test_logging_disable_is_named(logger: Logger) -> None:
    logger.addHandler(streaming())
    logging.disable(logging.ERROR)
    try:
        said = await failure(LogCheck(logger=logger.name))
    finally:
        logging.disable(logging.NOTSET)
    assert said == "the line came out nowhere: logging.disable(ERROR) swallows it"


async def test_a_disabled_logger_is_named(logger: Logger) -> None:
    logger.addHandler(streaming())
    logger.disabled = True
    said = await failure(LogCheck(logger=logger.name))
    logger.disabled = False
    assert f"the logger {logger.name} is disabled" in said
    assert "disable_existing_loggers" in said


async def test_the_level_of_the_logger_is_named(logger: Logger) -> None:
    logger.addHandler(streaming())
    logger.setLevel(logging.WARNING)
    assert await failure(LogCheck(logger=f"{logger.name}.child")) == (
        f"the line came out nowhere: the logger {logger.name}.child has the level WARNING:"
        " lower it to INFO"
    )


async def test_the_level_of_a_handler_is_named(logger: Logger) -> None:
    handler = streaming()
    handler.setLevel(logging.WARNING)
    logger.addHandler(handler)
    said = await failure(LogCheck(logger=logger.name))
    assert f"the level of {handler!r} is above INFO" in said


async def test_the_level_of_a_sink_behind_a_queue_is_named(logger: Logger) -> None:
    sink = streaming()
    sink.setLevel(logging.WARNING)
    with listening(sink, respect_handler_level=True) as handler:
        logger.addHandler(handler)
        said = await failure(LogCheck(logger=logger.name))
    assert f"the level of {sink!r} is above INFO" in said
    assert f"no handler that takes INFO is behind {handler!r}" in said


async def test_a_filter_of_the_logger_is_named(logger: Logger) -> None:
    logger.addHandler(streaming())
    logger.addFilter(lambda _: False)
    said = await failure(LogCheck(logger=logger.name))
    logger.filters.clear()
    assert said == (f"the line came out nowhere: a filter of the logger {logger.name} swallows it")


async def test_a_filter_of_a_handler_is_named(logger: Logger) -> None:
    handler = streaming()
    handler.addFilter(lambda _: False)
    logger.addHandler(handler)
    said = await failure(LogCheck(logger=logger.name))
    assert said == f"the line came out nowhere: a filter of {handler!r} swallows it"


async def test_a_filter_of_a_sink_behind_a_queue_is_named(logger: Logger) -> None:
    sink = streaming()
    sink.addFilter(lambda _: False)
    with listening(sink) as handler:
        logger.addHandler(handler)
        said = await failure(LogCheck(logger=logger.name))
    assert said == f"the line came out nowhere: a filter of {sink!r} swallows it"


async def test_a_filter_of_a_queue_handler_is_named_and_nothing_is_waited_for(
    logger: Logger,
) -> None:
    with listening(streaming()) as handler:
        handler.addFilter(lambda _: False)
        logger.addHandler(handler)
        said = await failure(LogCheck(logger=logger.name))
    assert said == f"the line came out nowhere: a filter of {handler!r} swallows it"


async def test_a_buffer_without_a_target_is_no_sink(logger: Logger) -> None:
    handler = MemoryHandler(100)
    logger.addHandler(handler)
    said = await failure(LogCheck(logger=logger.name))
    assert said == f"the line came out nowhere: no handler that takes INFO is behind {handler!r}"


async def test_a_formatter_that_drops_the_message_is_named(logger: Logger) -> None:
    handler = streaming()
    handler.setFormatter(logging.Formatter("%(levelname)s"))
    logger.addHandler(handler)
    said = await failure(LogCheck(logger=logger.name))
    assert said == f"{handler!r} has a formatter that drops the message"


async def test_a_formatter_that_writes_all_but_the_message_is_named(logger: Logger) -> None:
    handler = streaming()
    handler.setFormatter(logging.Formatter("%(petsage_log_check)s"))
    logger.addHandler(handler)
    assert "drops the message" in await failure(LogCheck(logger=logger.name))


async def test_a_formatter_of_a_queue_handler_that_drops_the_message_is_named(
    logger: Logger,
) -> None:
    with listening(streaming()) as handler:
        handler.setFormatter(logging.Formatter("%(levelname)s"))
        logger.addHandler(handler)
        said = await failure(LogCheck(logger=logger.name))
    assert f"{handler!r} has a formatter that drops the message" in said


# Handlers that fail


async def test_one_sink_that_fails_is_a_failure_though_others_take_the_line(logger: Logger) -> None:
    broken, sink = streaming(), streaming()
    broken.stream.close()
    logger.addHandler(broken)
    logger.addHandler(sink)
    said = await failure(LogCheck(logger=logger.name))
    assert said == f"{broken!r} raised ValueError: I/O operation on closed file"
    assert len(lines(sink)) == 1


async def test_every_handler_that_fails_is_named(logger: Logger) -> None:
    handlers = [streaming(), streaming()]
    for handler in handlers:
        handler.stream.close()
        logger.addHandler(handler)
    said = await failure(LogCheck(logger=logger.name))
    assert all(repr(handler) in said for handler in handlers)


async def test_a_full_device_is_named(logger: Logger) -> None:
    with suppress(OSError), os.fdopen(os.open("/dev/full", os.O_WRONLY), "w") as full:
        handler = streaming(full)
        logger.addHandler(handler)
        said = await failure(LogCheck(logger=logger.name))
        logger.removeHandler(handler)
    assert said == f"{handler!r} raised OSError: [Errno 28] No space left on device"


async def test_a_formatter_that_raises_is_named_in_one_line_and_prints_nothing(
    logger: Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(logging.Formatter):
        def format(self, record: LogRecord) -> str:
            raise RuntimeError(f"first\nsecond {record.levelname}")

    handler = streaming()
    handler.setFormatter(Broken())
    logger.addHandler(handler)
    said = await failure(LogCheck(logger=logger.name))
    assert said == f"{handler!r} raised RuntimeError: first second INFO"
    assert capsys.readouterr() == ("", "")


async def test_an_error_without_a_text_is_named_by_its_type(logger: Logger) -> None:
    class Broken(Handler):
        def emit(self, record: LogRecord) -> None:
            raise NotImplementedError

    handler = Broken()
    logger.addHandler(handler)
    said = await failure(LogCheck(logger=logger.name))
    assert said == f"{handler!r} raised NotImplementedError"


class BrokenFilter(logging.Filter):
    def filter(self, record: LogRecord) -> bool:
        raise LookupError(f"no tenant for {record.levelname}")


async def test_a_filter_that_raises_is_named_and_keeps_no_handler_from_the_line(
    logger: Logger,
) -> None:
    broken, sink = streaming(), streaming()
    broken.addFilter(BrokenFilter())
    logger.addHandler(broken)
    logger.addHandler(sink)
    said = await failure(LogCheck(logger=logger.name))
    assert said == f"{broken!r} raised LookupError: no tenant for INFO"
    assert len(lines(sink)) == 1


async def test_a_filter_that_raises_does_not_end_the_thread_of_a_listener(logger: Logger) -> None:
    broken = streaming()
    broken.addFilter(BrokenFilter())
    with listening(broken) as handler:
        logger.addHandler(handler)
        for _ in range(2):
            said = await failure(LogCheck(logger=logger.name))
            assert said == f"{broken!r} raised LookupError: no tenant for INFO"


async def test_a_filter_of_the_logger_that_raises_is_named(logger: Logger) -> None:
    logger.addHandler(streaming())
    logger.addFilter(BrokenFilter())
    said = await failure(LogCheck(logger=logger.name))
    assert said == f"the logger {logger.name} raised LookupError: no tenant for INFO"


async def test_a_sink_that_fails_behind_a_queue_is_named(logger: Logger) -> None:
    sink = streaming()
    sink.stream.close()
    with listening(sink) as handler:
        logger.addHandler(handler)
        said = await failure(LogCheck(logger=logger.name))
    assert said == f"{sink!r} raised ValueError: I/O operation on closed file"


async def test_a_target_that_fails_behind_a_buffer_is_named(logger: Logger) -> None:
    sink = streaming()
    sink.stream.close()
    logger.addHandler(MemoryHandler(100, target=sink))
    assert repr(sink) in await failure(LogCheck(logger=logger.name))


# Files that are not where they seem


def move(path: Path) -> None:
    path.rename(path.with_suffix(".1"))


def replace(path: Path) -> None:
    move(path)
    path.touch()


@pytest.mark.parametrize("lose", [Path.unlink, move, replace])
async def test_a_file_that_is_deleted_or_rotated_away_is_named(
    logger: Logger, tmp_path: Path, lose: Callable[[Path], None]
) -> None:
    handler = logging.FileHandler(tmp_path / "log")
    logger.addHandler(handler)
    await passes(logger)
    lose(tmp_path / "log")
    assert await failure(LogCheck(logger=logger.name)) == (
        f"{handler!r} wrote a line that is not in {tmp_path}/log: the file was deleted or rotated"
        " away, and this handler does not follow it as WatchedFileHandler does"
    )


async def test_a_file_that_is_lost_behind_a_queue_is_named(logger: Logger, tmp_path: Path) -> None:
    sink = logging.FileHandler(tmp_path / "log")
    with listening(sink) as handler:
        logger.addHandler(handler)
        await passes(logger)
        move(tmp_path / "log")
        assert f"not in {tmp_path}/log" in await failure(LogCheck(logger=logger.name))
    sink.close()


async def test_a_file_that_can_not_be_read_back_is_not_taken_for_one_that_can_not_be_written(
    logger: Logger, tmp_path: Path
) -> None:
    handler = logging.FileHandler(tmp_path / "log")
    logger.addHandler(handler)
    move(tmp_path / "log")
    (tmp_path / "log").symlink_to("log")
    said = await failure(LogCheck(logger=logger.name))
    assert said.startswith(f"{handler!r} wrote a line that can not be read back: ")


async def test_a_closed_handler_that_swallows_the_line_is_found_out_by_its_file(
    logger: Logger, tmp_path: Path
) -> None:
    handler = logging.FileHandler(tmp_path / "log", mode="w")
    handler.close()
    logger.addHandler(handler)
    assert f"not in {tmp_path}/log" in await failure(LogCheck(logger=logger.name))


# Queues that do not move


async def test_a_queue_without_a_known_listener_says_how_to_make_it_known(logger: Logger) -> None:
    handler, _ = queueing()
    logger.addHandler(handler)
    said = await failure(LogCheck(logger=logger.name))
    assert said == f"{handler!r} has no known listener: set handler.listener = listener"


async def test_a_full_queue_is_named(logger: Logger, capsys: pytest.CaptureFixture[str]) -> None:
    handler, records = queueing(1)
    handler.listener = QueueListener(records, streaming())  # type: ignore[attr-defined,unused-ignore]
    records.put(logging.makeLogRecord({}))
    logger.addHandler(handler)
    said = await failure(LogCheck(logger=logger.name))
    assert said == (f"{handler!r} has a full queue: what is behind it stands still or is too slow")
    assert capsys.readouterr().err == ""


async def test_a_listener_that_does_not_run_is_waited_for_until_the_run_is_cancelled(
    logger: Logger,
) -> None:
    (handler, records), sink = queueing(), streaming()
    handler.listener = QueueListener(records, sink)  # type: ignore[attr-defined,unused-ignore]
    logger.addHandler(handler)
    check = LogCheck(logger=logger.name)
    run = asyncio.create_task(check.run())
    await asyncio.to_thread(records.get, timeout=5)
    assert check.doing == (
        f"waiting for the line to come out at {sink!r} behind {handler!r} (does its listener run?)"
    )
    run.cancel()
    await asyncio.wait({run}, timeout=5)
    assert run.cancelled()
    assert not stand_ins(sink)


async def test_a_line_that_lies_in_a_queue_is_given_up_in_the_end(
    logger: Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "_LONGEST_WAIT", 0.01)
    (handler, records), sink = queueing(), streaming()
    handler.listener = QueueListener(records, sink)  # type: ignore[attr-defined,unused-ignore]
    logger.addHandler(handler)
    said = await failure(LogCheck(logger=logger.name))
    assert said.startswith(f"gave up after 10ms waiting for the line to come out at {sink!r}")


# Sinks that block


async def test_a_sink_that_blocks_is_named_and_holds_the_run_until_it_moves(
    logger: Logger, pipe: FullPipe
) -> None:
    sink = streaming(pipe)
    logger.addHandler(sink)
    check = LogCheck(logger=logger.name)
    run = asyncio.create_task(check.run())
    await pipe.reached()
    assert check.doing == f"writing the line to {sink!r}"
    run.cancel()
    await asyncio.wait({run}, timeout=0.01)
    assert not run.done()
    pipe.drain()
    await asyncio.wait({run}, timeout=5)
    assert run.cancelled()
    assert not stand_ins(sink)
    await passes(logger)


async def test_a_target_that_blocks_is_named_and_not_the_buffer_before_it(
    logger: Logger, pipe: FullPipe
) -> None:
    target = streaming(pipe)
    logger.addHandler(MemoryHandler(100, target=target))
    check = LogCheck(logger=logger.name)
    run = asyncio.create_task(check.run())
    await pipe.reached()
    assert check.doing == f"writing the line to {target!r}"
    pipe.drain()
    await asyncio.wait_for(run, 5)


async def test_of_two_handlers_the_one_that_blocks_is_named(logger: Logger, pipe: FullPipe) -> None:
    sink = streaming(pipe)
    with listening(streaming()) as handler:
        for each in (handler, streaming(), sink, streaming()):
            logger.addHandler(each)
        check = LogCheck(logger=logger.name)
        run = asyncio.create_task(check.run())
        await pipe.reached()
    assert check.doing == f"writing the line to {sink!r}"
    pipe.drain()
    await asyncio.wait_for(run, 5)


async def test_a_handler_whose_lock_is_held_by_a_blocked_line_of_another_is_named(
    logger: Logger, pipe: FullPipe
) -> None:
    sink = streaming(pipe)
    logger.addHandler(sink)
    check = LogCheck(logger=logger.name)
    other = asyncio.create_task(asyncio.to_thread(logger.info, "of the application"))
    await pipe.reached()
    begun = threading.Event()

    def filtered(_: LogRecord) -> bool:
        begun.set()
        return True

    sink.addFilter(filtered)
    run = asyncio.create_task(check.run())
    await asyncio.to_thread(begun.wait, 5)
    assert check.doing == f"writing the line to {sink!r}"
    pipe.drain()
    await asyncio.wait_for(asyncio.gather(run, other), 5)


async def test_a_sink_that_blocks_behind_a_queue_is_named_and_holds_no_run(
    logger: Logger, pipe: FullPipe
) -> None:
    sink = streaming(pipe)
    with listening(sink, streaming()) as handler:
        logger.addHandler(handler)
        check = LogCheck(logger=logger.name)
        run = asyncio.create_task(check.run())
        await pipe.reached()
        assert check.doing == f"writing the line to {sink!r}"
        run.cancel()
        await asyncio.wait({run}, timeout=5)
        assert run.cancelled()
        assert not stand_ins(sink)
        check.doing = "something else"
        pipe.drain()
    assert check.doing == "something else", "a line that comes out late belongs to no run"


def test_a_line_that_comes_out_after_its_loop_was_closed_ends_no_listener(
    logger: Logger, pipe: FullPipe
) -> None:
    sink = streaming()
    with listening(streaming(pipe), sink) as handler:
        logger.addHandler(handler)
        loop = asyncio.new_event_loop()
        coroutine = LogCheck(logger=logger.name).run()
        run = loop.create_task(coroutine)
        loop.run_until_complete(pipe.reached())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        pipe.drain()
        logger.info("after")
    assert lines(sink)[1:] == ["after"]
    coroutine.close()
    run._log_destroy_pending = False  # type: ignore[attr-defined]  # it can never end: no loop


# What the check does to others


@contextmanager
def busy(logger: Logger) -> Iterator[None]:
    """Let threads log, at least 200 lines each and until the end."""
    end, started = threading.Event(), threading.Barrier(5)

    def chatter(number: int) -> None:
        started.wait(5)
        at = 0
        while at < 200 or not end.is_set():
            logger.info("thread %d says %d", number, at)
            at += 1

    threads = [threading.Thread(target=chatter, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    started.wait(5)
    try:
        yield
    finally:
        end.set()
        for thread in threads:
            thread.join(10)


async def test_lines_of_busy_threads_come_out_once_and_in_order(logger: Logger) -> None:
    sink = streaming()
    logger.addHandler(sink)
    with busy(logger):
        for _ in range(50):
            await passes(logger)
    said = lines(sink)
    assert sum(line.startswith("log check") for line in said) == 50
    for number in range(4):
        own = [line for line in said if line.startswith(f"thread {number}")]
        assert own == [f"thread {number} says {at}" for at in range(len(own))]
        assert len(own) >= 200


async def test_while_a_run_hangs_the_lines_of_others_are_handled_as_ever(
    logger: Logger, pipe: FullPipe, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = streaming()
    other = private(f"{logger.name} other")
    other.addHandler(shared)
    logger.addHandler(shared)
    logger.addHandler(streaming(pipe))
    run = asyncio.create_task(LogCheck(logger=logger.name).run())
    await pipe.reached()
    assert stand_ins(shared), "this test is about a handler that is watched"
    other.error("says %s", "this")
    other.error("says %d", "that")
    assert lines(shared)[1:] == ["says this"]
    assert "TypeError" in capsys.readouterr().err, "errors of others are still reported"
    await passes(other)
    pipe.drain()
    await asyncio.wait_for(run, 5)
    assert not stand_ins(shared)
    other.removeHandler(shared)


async def test_a_run_that_ends_takes_nothing_from_one_that_goes_on(
    logger: Logger, pipe: FullPipe, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = streaming()
    broken.stream.close()
    logger.addHandler(streaming(pipe))
    logger.addHandler(broken)
    run = asyncio.create_task(failure(LogCheck(logger=logger.name)))
    await pipe.reached()
    other = private(f"{logger.name} other")
    other.addHandler(streaming())
    await passes(other)
    pipe.drain()
    assert await run == f"{broken!r} raised ValueError: I/O operation on closed file"
    assert capsys.readouterr().err == ""
    assert not stand_ins(other.handlers.pop())


async def test_methods_that_an_instance_has_of_its_own_are_given_back(logger: Logger) -> None:
    sink, seen = streaming(), list[LogRecord]()

    def emit(record: LogRecord) -> None:
        seen.append(record)

    sink.emit = emit  # type: ignore[method-assign]
    logger.addHandler(sink)
    await passes(logger)
    assert len(seen) == 1
    assert vars(sink).pop("emit") is emit


async def test_handlers_are_given_back_when_the_line_fails(logger: Logger) -> None:
    sink = streaming()
    sink.stream.close()
    logger.addHandler(sink)
    await failure(LogCheck(logger=logger.name))
    assert not stand_ins(sink)


async def test_a_pipeline_that_is_mended_passes_again(logger: Logger) -> None:
    sink = streaming()
    sink.setLevel(logging.ERROR)
    logger.addHandler(sink)
    check = LogCheck(logger=logger.name)
    await failure(check)
    sink.setLevel(logging.NOTSET)
    await check.run()


async def test_the_line_is_marked_so_that_a_filter_can_tell_it_from_others(logger: Logger) -> None:
    records = BufferingHandler(100)
    logger.addHandler(records)
    await passes(logger)
    assert hasattr(records.buffer[0], "petsage_log_check")

"""Handlers that fail are named with what they raised."""

import logging
import os
from contextlib import suppress
from logging import Handler, Logger, LogRecord
from logging.handlers import MemoryHandler

import pytest

from petsage_grpc.checks.log import LogCheck
from tests.checks.log.conftest import failure, lines, listening, streaming


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

"""The check leaves the handlers, and the lines of others, as they were."""

import asyncio
import logging
from logging import Logger, LogRecord
from logging.handlers import BufferingHandler

import pytest

from petsage_grpc.checks.log import LogCheck
from tests.checks.log.conftest import (
    FullPipe,
    busy,
    failure,
    lines,
    passes,
    private,
    stand_ins,
    streaming,
)


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

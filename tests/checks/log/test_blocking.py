"""A sink that blocks is named, and holds no more than it must."""

import asyncio
import threading
from logging import Logger, LogRecord
from logging.handlers import MemoryHandler

from petsage_grpc.checks.log import LogCheck
from tests.checks.log.conftest import (
    FullPipe,
    lines,
    listening,
    passes,
    stand_ins,
    streaming,
)


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

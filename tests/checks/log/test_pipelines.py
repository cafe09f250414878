"""A line comes out once at every sink of a pipeline that works."""

import logging
from logging import Handler, Logger, LogRecord
from logging.handlers import MemoryHandler

import pytest

from petsage_grpc.checks.log import LogCheck
from tests.checks.log.conftest import lines, listening, passes, stand_ins, streaming


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

"""What swallows a line is named: a level, a filter, a formatter, or that nothing takes it."""

import logging
from logging import Logger
from logging.handlers import MemoryHandler

from petsage_grpc.checks.log import LogCheck
from tests.checks.log.conftest import failure, listening, streaming


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

"""A queue that does not move is named."""

import asyncio
import logging
from logging import Logger
from logging.handlers import QueueListener

import pytest

from petsage_grpc.checks import log
from petsage_grpc.checks.log import LogCheck
from tests.checks.log.conftest import (
    failure,
    queueing,
    stand_ins,
    streaming,
)


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

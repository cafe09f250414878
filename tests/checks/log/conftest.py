"""Loggers of their own, the handlers they get, and what the log check says of them."""

import asyncio
import io
import logging
import os
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from logging import Handler, Logger, LogRecord
from logging.handlers import QueueHandler, QueueListener

import pytest

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

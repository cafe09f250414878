"""A line is read back from its file, and a file that is not where it seems is named."""

import logging
import os
from collections.abc import Callable
from logging import Logger, LogRecord
from logging.handlers import RotatingFileHandler, WatchedFileHandler
from pathlib import Path

import pytest

from petsage_grpc.checks.log import LogCheck
from tests.checks.log.conftest import busy, failure, listening, passes


def move(path: Path) -> None:
    path.rename(path.with_suffix(".1"))


def replace(path: Path) -> None:
    move(path)
    path.touch()


# Files that the line is read back from


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


# Files that are not where they seem


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

"""The service's own log: it never blocks who writes, whatever becomes of standard output."""

import io
import logging
import os
import threading
from collections.abc import Iterator

import pytest

from petsage_grpc.plane.logs import LogPipeline

PATIENCE = 20.0


@pytest.fixture(autouse=True)
def root_level() -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)


def test_what_is_logged_comes_out_at_the_stream() -> None:
    stream = io.StringIO()
    with LogPipeline("INFO", stream) as logs:
        logging.getLogger("petsage_grpc.test").info("hello %s", "there")
        logging.getLogger("petsage_grpc.test").debug("too fine")
        assert logs.close(PATIENCE)
    assert stream.getvalue().endswith("INFO    petsage_grpc.test: hello there\n")
    assert stream.getvalue().count("\n") == 1


def test_a_full_pipe_blocks_nobody_and_what_fits_comes_out_when_it_is_read() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "r") as reader, os.fdopen(writing, "w") as writer:
        with LogPipeline("INFO", writer) as logs:
            for _ in range(5_000):
                logging.getLogger("petsage_grpc.test").info("x" * 100)
            assert not logs.close(0.01), "the pipe holds 64 KiB, so the thread is stuck"
            rest: list[str] = []
            reading_thread = threading.Thread(target=lambda: rest.extend(iter(reader.readline, "")))
            reading_thread.start()
            assert logs.close(PATIENCE)
        writer.close()
        reading_thread.join(PATIENCE)
    assert 1_000 <= len(rest) < 5_000


def test_a_broken_pipe_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    writer = os.fdopen(writing, "w")
    with LogPipeline("INFO", writer) as logs:
        logging.getLogger("petsage_grpc.test").info("to nobody")
        assert logs.close(PATIENCE)
    with pytest.raises(BrokenPipeError):
        writer.close()
    assert capsys.readouterr().err == ""

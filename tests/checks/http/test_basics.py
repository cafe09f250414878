"""The HTTP check where there is no nginx: against the server that comes with Python."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from petsage_grpc.checks.http import HttpCheck
from tests import faults
from tests.checks.conftest import failure_of, passes, timeout_of
from tests.processes import PATIENCE


@contextlib.contextmanager
def served(folder: Path, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """Serve a folder; the server ends with the block."""
    command = [sys.executable, "-u", "-m", "http.server", "--bind", faults.HOST, str(port)]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline().startswith(b"Serving HTTP")
            yield server
        finally:
            server.kill()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "healthz").write_text("all is well")
    return tmp_path


async def test_it_fails_while_the_server_is_dead_or_stopped_and_passes_again(folder: Path) -> None:
    port = faults.free_port()
    check = HttpCheck(url=f"http://localhost:{port}/healthz", body_contains="well")
    with served(folder, port) as server:
        await passes(check)
        with faults.stopped(server):
            assert await timeout_of(check) == f"waiting for localhost:{port} to answer"
        await passes(check)
        server.kill()
        server.wait(PATIENCE)
        assert f"localhost:{port} refuses connections" in await failure_of(check)
    with served(folder, port):
        await passes(check)


async def test_it_tells_a_missing_page_and_a_wrong_one(folder: Path) -> None:
    port = faults.free_port()
    with served(folder, port):
        missing = HttpCheck(url=f"http://localhost:{port}/nothing")
        assert "answered 404 (Not Found)" in await failure_of(missing)
        wrong = HttpCheck(url=f"http://localhost:{port}/healthz", body_contains="purring")
        assert "answered without 'purring'" in await failure_of(wrong)
        moved = HttpCheck(url=f"http://localhost:{port}/sub")
        (folder / "sub").mkdir()
        assert "a redirect to http at" in await failure_of(moved)
        head = HttpCheck(url=f"http://localhost:{port}/healthz", method="HEAD")
        await passes(head)

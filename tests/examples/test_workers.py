"""What docs/workers.md says of forks, and of several workers without gunicorn."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.examples.conftest import (
    EXAMPLES,
    assert_answers,
    smoke_test,
    started,
    wait_until,
    watching,
)
from tests.faults import free_port
from tests.processes import PATIENCE, clean_environment, python

DOCS = (EXAMPLES.parent / "docs" / "workers.md").read_text()

FORK = """
import logging, os, sys
from petsage_grpc import HealthPlane, PlaneError

logging.basicConfig(level=logging.ERROR)
isolation, when = sys.argv[1:]
plane = HealthPlane.from_settings(listen="127.0.0.1:0", isolation=isolation)
beat = plane.heartbeat("worker", max_silence=60)
if when == "before":
    plane.start()

def use():
    beat()  # it never raises, wherever it is called
    try:
        return plane.address
    except PlaneError as error:
        return str(error)

def start():
    try:
        with plane:
            return "started"
    except PlaneError as error:
        return str(error)

child = os.fork()
if child == 0:
    print("used:", use(), flush=True)
    print("started:", start(), flush=True)
    os._exit(0)
os.waitpid(child, 0)
if when == "before":
    print("parent:", plane.address)
    plane.stop()
"""


def fork(isolation: str, when: str) -> dict[str, str]:
    """Fork before or after the start; give back what the child and its parent found."""
    ran = python(FORK, [isolation, when])
    assert ran.returncode == 0, ran.stderr
    return dict(line.split(": ", 1) for line in ran.stdout.splitlines())


def test_a_plane_on_a_thread_that_was_started_before_the_fork_is_refused_in_the_child() -> None:
    found = fork("thread", "before")
    assert found["used"].endswith("start it after the fork, in each worker")
    assert "fork before anything uses grpc" in found["started"]
    assert found["parent"].startswith("127.0.0.1:")


@pytest.mark.parametrize(
    ("isolation", "when"), [("thread", "after"), ("process", "before"), ("process", "after")]
)
def test_a_plane_can_be_started_after_a_fork_when_no_grpc_was_at_work(
    isolation: str, when: str
) -> None:
    assert fork(isolation, when)["started"] == "started"


BEAT_IN_CHILD = """
import logging, os, sys, time
from petsage_grpc import HealthPlane

logging.basicConfig(level=logging.INFO)
plane = HealthPlane.from_settings(listen="127.0.0.1:0", isolation="process")
beat = plane.heartbeat("worker", max_silence=0.5)
plane.start()
child = os.fork()
if child == 0:
    for _ in iter(sys.stdin.readline, ""):
        beat()
    os._exit(0)
logging.info("listening on %s", plane.address)
os.waitpid(child, 0)
"""


def test_a_beat_in_a_forked_worker_reaches_the_plane_of_its_parent() -> None:
    with started(sys.executable, "-c", BEAT_IN_CHILD, stdin=subprocess.PIPE) as process:
        process.wait_for("check disk is passing")
        process.wait_for("check log is passing")
        with watching(process.address, "readiness") as readiness:
            for _ in range(2):
                assert next(readiness) == "NOT_SERVING"
                assert process.process.stdin is not None
                process.process.stdin.write("beat\n")
                process.process.stdin.flush()
                assert next(readiness) == "SERVING"


APPLICATION = """
from contextlib import asynccontextmanager

from fastapi import FastAPI

from petsage_grpc import HealthPlane


@asynccontextmanager
async def lifespan(_):
    with HealthPlane.from_settings() as plane:
        yield


app = FastAPI(lifespan=lifespan)
"""


def test_a_plane_in_the_lifespan_of_each_uvicorn_worker_is_refused_with_the_port(
    tmp_path: Path,
) -> None:
    (tmp_path / "shop.py").write_text(APPLICATION)
    address = f"127.0.0.1:{free_port()}"
    ran = subprocess.run(
        [sys.executable, "-m", "uvicorn", "--port=0", "--workers=2",
         "--timeout-worker-healthcheck=1", "shop:app"],
        cwd=tmp_path, env=clean_environment(PETSAGE_LISTEN=address), timeout=2 * PATIENCE,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert re.search(rf"BindError: .*{re.escape(address)}", ran.stderr)
    assert "failed to start, stopping the parent process" in ran.stderr


SHOP = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"open"})
"""


def test_a_plane_beside_the_supervisor_of_uvicorn_asks_the_workers(tmp_path: Path) -> None:
    (launcher,) = re.findall(
        r"```python\n(import logging\n\nimport uvicorn.*?)```", DOCS, re.DOTALL
    )
    (settings,) = re.findall(r"```toml\n(listen.*?)```", DOCS, re.DOTALL)
    port = str(free_port())
    (tmp_path / "serve.py").write_text(
        launcher.replace("8000", port).replace("workers=4", "workers=2")
    )
    (tmp_path / "petsage.toml").write_text(settings.replace("8000", port))
    (tmp_path / "shop.py").write_text(SHOP)
    with started(sys.executable, "serve.py", cwd=tmp_path, PETSAGE_LISTEN="127.0.0.1:0") as process:
        wait_until(process.address, "readiness")
        assert_answers(process)
        assert "shop" in [check.name for check in smoke_test(process.address).checks]
        assert httpx.get(f"http://127.0.0.1:{port}/").text == "open"
        process.signal(signal.SIGTERM)
        assert process.end() == 0

"""`serve` with features ends when it is told to, and tells when their loop ends before."""

import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.packages import importable, write_package
from tests.plane.asking import Asking
from tests.plane.conftest import NAP_SERVICE, SERVICE
from tests.plane.planes import NOT_SERVING, SERVING
from tests.processes import PATIENCE, run, served, settings_file

THREADS = {
    "a thread": "threading.Thread(target=threading.Event().wait, daemon=False).start()",
    "a pool": "ThreadPoolExecutor().submit(threading.Event().wait)",
    "the loop's pool": ("asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)"),
}
FEATURE = """
import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

def mount(feature):
    {}
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    with importable(tmp_path / "site") as folder:
        yield folder


def bring(site: Path, code: str) -> None:
    modules = {"naps_feature": code}
    write_package(site, "petsage-naps", modules, features={"naps": "naps_feature"})


@pytest.mark.parametrize("code", THREADS.values(), ids=THREADS)
def test_a_thread_that_never_ends_does_not_keep_it(site: Path, code: str) -> None:
    bring(site, FEATURE.format(code))
    with served(PYTHONPATH=str(site), PETSAGE_DRAIN_DELAY="0") as process:
        process.signal(signal.SIGTERM)
        assert process.end() == 0
        assert process.lines[-1].endswith("petsage_grpc.service: stopped")


@pytest.mark.parametrize("code", THREADS.values(), ids=THREADS)
def test_a_start_that_is_refused_ends_as_well(site: Path, code: str) -> None:
    bring(site, FEATURE.format(f"{code}\n    raise OSError('no bed')"))
    ended = run("serve", "--listen=127.0.0.1:0", PYTHONPATH=str(site))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "petsage-grpc serve: feature naps (petsage-naps): naps_feature:mount raised OSError:"
        " no bed\n"
    )


ENDS = {
    "exit": "import sys; sys.exit(3)",
    "stop": "import asyncio; asyncio.get_running_loop().stop()",
    "cancel": "import asyncio; [task.cancel() for task in asyncio.all_tasks()]",
}


@pytest.mark.parametrize("configured", [True, False])
@pytest.mark.parametrize("code", ENDS.values(), ids=ENDS)
def test_a_loop_that_has_ended_is_told_at_once(
    site: Path, tmp_path: Path, code: str, *, configured: bool
) -> None:
    bring(site, SERVICE.replace('return b"zzz"', code))
    beat = ["[checks.features]", 'kind = "heartbeat"', 'max_silence = "1h"', "fall = 7"]
    file = settings_file(
        tmp_path, 'max_silence = "1h"', 'details = "always"', *(beat if configured else [])
    )
    with served(f"--config={file}", PYTHONPATH=str(site)) as process:
        address = process.wait_for(r"the features listen on (\S+)")[1]
        with Asking(process.address) as plane, grpc.insecure_channel(address) as channel:
            plane.becomes(SERVING, "liveness")
            plane.becomes(SERVING)
            nap: grpc.UnaryUnaryMultiCallable[bytes, bytes]
            nap = channel.unary_unary(f"/{NAP_SERVICE}/Nap")
            call = nap.future(b"", timeout=PATIENCE)
            plane.becomes(NOT_SERVING, "liveness")
            call.cancel()
            told = {check.name: check.detail for check in plane.smoke().checks}
            assert "its event loop has ended" in told["features"]
        process.wait_for("the loop of the features has ended: ")
        process.signal(signal.SIGTERM)
        process.wait_for("draining")
        process.signal(signal.SIGTERM)
        assert process.end() == 0

"""An interpreter that ends without a stop of its plane ends cleanly: no hang, no traceback."""

import signal
import subprocess
import sys

import pytest

from tests.plane.asking import ISOLATION, Status
from tests.processes import python

UP, DOWN = Status.SERVING, Status.NOT_SERVING


START = """
import sys, threading, time, logging
from petsage_grpc import HealthPlane
plane = HealthPlane.from_settings(listen="127.0.0.1:0", checks={}, isolation=ISOLATION)
"""
BLOCKED = """
begun = threading.Event()
@plane.check("hangs")
def hangs():
    begun.set()
    time.sleep(1000)
"""


def run_code(code: str) -> "subprocess.CompletedProcess[str]":
    """Run code that has a plane, as a process."""
    return python(f"ISOLATION = {ISOLATION!r}\n{START}{code}")


WATCHED = """
import subprocess
plane.start()
code = (
    "import sys, grpc\\n"
    "from grpc_health.v1 import health_pb2, health_pb2_grpc\\n"
    "stub = health_pb2_grpc.HealthStub(grpc.insecure_channel(sys.argv[1]))\\n"
    "for answer in stub.Watch(health_pb2.HealthCheckRequest()):\\n"
    "    print(answer.status, flush=True)"
)
watching = [sys.executable, "-c", code, plane.address]
quiet = subprocess.DEVNULL
watcher = subprocess.Popen(watching, stdout=subprocess.PIPE, stderr=quiet)
assert watcher.stdout.readline() == b"1\\n"
"""
"""Another process watches; a watch of the process itself could hang in grpc's own end."""


@pytest.mark.parametrize(
    ("code", "exit_code", "last_line"),
    [
        pytest.param("plane.start()", 0, "", id="running"),
        pytest.param(
            "HealthPlane.from_settings(listen='127.0.0.1:0', isolation=ISOLATION).start()",
            0, None, id="lost",
        ),
        pytest.param("plane.start(); plane.stop()", 0, "", id="stopped"),
        pytest.param("plane.start(); sys.exit(7)", 7, "", id="exit code"),
        pytest.param("plane.start(); 1 / 0", 1, "ZeroDivisionError: division by zero", id="raises"),
        pytest.param(
            BLOCKED + "plane.start(); begun.wait(); sys.exit(3)", 3, "", id="check hangs",
        ),
        pytest.param(
            "beat = plane.heartbeat('worker')\nplane.start()\n"
            "def work():\n    while True: beat()\n"
            "threading.Thread(target=work, daemon=True).start()", 0, "", id="beating",
        ),
        pytest.param(
            "class Handler(logging.Handler):\n"
            "    def emit(self, record): begun.set(); time.sleep(2)\n"
            "begun = threading.Event()\n"
            "logging.getLogger().addHandler(Handler())\n"
            "plane.check('bad')(lambda: False)\n"
            "plane.start(); begun.wait()", 0, "", id="handler slow",
        ),
        pytest.param(WATCHED, 0, "", id="watched"),
        pytest.param(
            "import atexit\natexit.register(plane.stop)\nplane.start()\n"
            "atexit.register(plane.stop)", 0, "", id="own exit handlers",
        ),
        pytest.param(
            "threading.Thread(target=plane.start).start()", 0, "", id="started on a thread",
        ),
        pytest.param(
            WATCHED + "plane.check('ends-it', gates=[])(lambda: plane.stop(3.0))\n"
            "assert watcher.stdout.readline() == b''  # it is stopping",
            0, "", id="stopped by a check",
        ),
    ],
)  # fmt: skip
def test_an_interpreter_that_ends_without_a_stop_ends_cleanly(
    code: str, exit_code: int, last_line: str | None
) -> None:
    ended = run_code(code)
    assert ended.returncode == exit_code, ended.stderr
    if last_line is None:
        assert "Traceback" not in ended.stderr
    else:
        assert ended.stderr.strip().rpartition("\n")[2] == last_line
        assert ended.stderr.count("Traceback") == (1 if last_line else 0)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal")
def test_an_interpreter_that_is_interrupted_ends_cleanly() -> None:
    ended = run_code("import signal\nplane.start()\nsignal.raise_signal(signal.SIGINT)")
    assert ended.returncode == -signal.SIGINT
    assert ended.stderr.strip().endswith("KeyboardInterrupt")
    assert ended.stderr.count("Traceback") == 1

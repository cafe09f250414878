"""What bounds each long step of a build: nothing outlives it, however the step ends."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped] # brings no types; pgserver needs it anyway
import pytest

from tests.processes import PATIENCE

_WITHIN = Path(__file__).parents[1] / "tools" / "within.py"
_LEAVES_ONE = """
import os, subprocess, sys
left = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"],
                        start_new_session=True, stdout=subprocess.DEVNULL)
print(left.pid, flush=True)
"""
"""Its child is in a session of its own."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux has parents of orphans")


@contextmanager
def within(seconds: int, code: str) -> "Iterator[subprocess.Popen[str]]":
    with subprocess.Popen(
        [sys.executable, str(_WITHIN), f"{seconds}", sys.executable, "-c", code],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def _end(process: "subprocess.Popen[str]") -> tuple[int, int, str]:
    """Read which child it had, and wait; return that, how it ended, and what was said of it."""
    out, said = process.communicate(timeout=PATIENCE)
    return int(out), process.returncode, said


@pytest.mark.parametrize("code", [0, 3])
def test_it_ends_as_the_command_does(code: int) -> None:
    with within(60, f"raise SystemExit({code})") as process:
        assert process.wait(PATIENCE) == code
        assert process.stderr is not None
        assert not process.stderr.read()


def test_a_command_that_a_signal_ends_is_told_as_a_shell_does() -> None:
    with within(60, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)") as process:
        assert process.wait(PATIENCE) == 128 + signal.SIGSEGV


@pytest.mark.parametrize(
    ("last", "code"),
    [
        ("", 0),
        ("os._exit(5)", 5),
        ("os.kill(os.getpid(), 11)", 128 + signal.SIGSEGV),
    ],
    ids=["well", "at once", "by a crash"],
)
def test_what_a_command_leaves_behind_is_ended_and_named(last: str, code: int) -> None:
    with within(60, _LEAVES_ONE + last) as process:
        pid, ended, said = _end(process)
    assert ended == code
    assert f"{pid} is left behind, and ended: {sys.executable}" in said
    assert not psutil.pid_exists(pid)


def test_a_command_that_takes_too_long_is_ended_with_its_children() -> None:
    with within(2, _LEAVES_ONE + "left.wait()") as process:
        pid, ended, said = _end(process)
    assert ended == 124
    assert "has not ended within 2 s" in said
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_build_that_is_ended_leaves_nothing(number: signal.Signals) -> None:
    with within(60, _LEAVES_ONE + "left.wait()") as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.send_signal(number)
        assert process.wait(PATIENCE) == 128 + number
    assert not psutil.pid_exists(pid)

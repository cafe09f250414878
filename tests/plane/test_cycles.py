"""A plane that is started and stopped again and again leaves nothing behind."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import PATIENCE, clean_environment

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="nothing can be counted here")
@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_some_cycles_leave_nothing(isolation: str) -> None:
    ended = subprocess.run(
        [sys.executable, ROOT / "tools" / "cycles.py", isolation, "5"], text=True,
        capture_output=True, timeout=2 * PATIENCE, check=False, env=clean_environment(), cwd=ROOT,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.endswith("nothing is left\n")

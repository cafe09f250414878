"""The demonstration runs for real, judges what was seen, and leaves nothing behind."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.processes import PATIENCE, clean_environment

Demo = subprocess.Popen[str]

PATIENT = "--tolerance=5"
"""Other tests may keep the machine busy."""
IMPATIENT = "--tolerance=-9"


def start(*arguments: str) -> Demo:
    demo = [sys.executable, str(Path(__file__).parent.parent / "tools" / "demo"), *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        demo, stdout=pipe, stderr=pipe, text=True, env=clean_environment(), start_new_session=True
    )


@pytest.fixture(scope="module", autouse=True)
def demos() -> Iterator[dict[str, Demo]]:
    """Demonstrations that run at the same time, for they wait most of it."""
    with ExitStack() as stack:
        demos = {key: start("cache", "--quick", key) for key in (PATIENT, IMPATIENT)}
        demos["oracle"] = start("oracle")
        for demo in demos.values():
            stack.enter_context(demo)
        yield demos


def test_told_to_stop_it_ends_all_that_it_has_started_also_what_it_has_stopped() -> None:
    with start("cache", "--quick", PATIENT) as demo:
        assert demo.stdout is not None
        while "is stopped (SIGSTOP)" not in (line := demo.stdout.readline()):
            assert line, demo.stderr
        os.killpg(demo.pid, signal.SIGINT)  # as a terminal does
        told, _ = demo.communicate(timeout=PATIENCE)
        assert demo.returncode == 128 + signal.SIGINT
        assert "all that it had started has been ended" in told
        with pytest.raises(ProcessLookupError):  # nobody is left in its group
            os.killpg(demo.pid, 0)


def test_all_see_a_dependency_killed_revived_stopped_and_continued(demos: dict[str, Demo]) -> None:
    told, problems = demos[PATIENT].communicate(timeout=2 * PATIENCE)
    assert demos[PATIENT].returncode == 0, told + problems
    events = re.findall(r"cache is (\w+)", told)
    assert events == ["killed", "revived", "stopped", "continued"]
    watched = re.findall(r"  watcher +(\w+) +[0-9.]+s +[0-9.]+s  in time", told)
    assert watched == ["NOT_SERVING", "SERVING"] * 2
    smoke = re.findall(r"  SmokeTest +(OK|FAILING: cache \(.*)  +[0-9.]+s +[0-9.]+s  in time", told)
    assert [words.partition(" (")[0] for words in smoke] == ["FAILING: cache", "OK"] * 2
    assert len(re.findall(r"  in time$", told, flags=re.MULTILINE)) == 3 * len(events)


def test_what_is_not_seen_in_time_is_told_and_ends_it_with_1(demos: dict[str, Demo]) -> None:
    told, _ = demos[IMPATIENT].communicate(timeout=2 * PATIENCE)
    assert demos[IMPATIENT].returncode == 1
    assert "NOT SEEN" in told
    assert "what the service has logged last" in told


def test_what_it_does_not_have_is_refused_with_what_it_has(demos: dict[str, Demo]) -> None:
    _, problems = demos["oracle"].communicate(timeout=PATIENCE)
    assert demos["oracle"].returncode == 2
    assert problems.endswith("no 'oracle'; there are: orders-db, cache, menu, ledger\n")

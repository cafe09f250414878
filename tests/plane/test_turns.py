"""The plane's process has short turns: it is let in at once beside an application that computes."""

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from petsage_grpc import HealthPlane
from petsage_grpc.plane.turns import ask_for_short_turns
from tests.plane.planes import QUIET, planes_of

SHORTEST = 100_000
_SCHED_GETATTR = {"x86_64": 315, "aarch64": 275}
_ATTRIBUTES = struct.Struct("IIQiIQQQ")


def attributes(thread: int) -> tuple[int, int]:
    """Give its niceness, and for how many nanoseconds its turns last."""
    raw = ctypes.create_string_buffer(_ATTRIBUTES.size)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(_SCHED_GETATTR[platform.machine()], thread, raw, _ATTRIBUTES.size, 0):
        raise OSError(ctypes.get_errno(), "sched_getattr")
    _, _, _, nice, _, runtime, _, _ = _ATTRIBUTES.unpack(raw.raw)
    return nice, runtime


def is_granted() -> bool:
    """Say whether this system grants turns of a length."""
    if sys.platform != "linux" or platform.machine() not in _SCHED_GETATTR:
        return False
    release = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])
    return release >= (6, 12)


pytestmark = pytest.mark.skipif(
    not is_granted(), reason="turns of a length are granted by Linux 6.12 and later"
)


def on_a_thread(call: Callable[[], object]) -> object:
    """Call a function on a thread of its own, whose attributes end with it."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(call).result()


def test_each_thread_of_the_planes_process_has_short_turns_and_none_of_the_application() -> None:
    with HealthPlane.from_settings(isolation="process", **QUIET):
        (child,) = planes_of(os.getpid())
        threads = [int(task.name) for task in Path(f"/proc/{child}/task").iterdir()]
        assert len(threads) > 2
        assert {attributes(thread)[1] for thread in threads} == {SHORTEST}
        assert attributes(0)[1] != SHORTEST


def test_its_niceness_stays() -> None:
    def ask() -> tuple[int, int]:
        os.setpriority(os.PRIO_PROCESS, 0, 5)
        ask_for_short_turns()
        return attributes(0)

    assert on_a_thread(ask) == (5, SHORTEST)


def test_a_thread_with_a_policy_of_its_own_keeps_it() -> None:
    def ask() -> int:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        ask_for_short_turns()
        return os.sched_getscheduler(0)

    assert on_a_thread(ask) == os.SCHED_BATCH

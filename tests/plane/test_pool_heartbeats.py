"""Beats through the queue of a pool: a full one is told, and holds up nobody."""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from petsage_grpc import HealthPlane
from petsage_grpc.checks.heartbeat import HeartbeatCheck
from petsage_grpc.core.units import Duration
from petsage_grpc.plane.heartbeats import Heartbeat, through_pool
from tests.plane.asking import Asking, Status
from tests.processes import PATIENCE, settings_file


def test_through_a_full_pool_goes_no_second_task() -> None:
    check, free = HeartbeatCheck(max_silence=Duration(5)), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        send = through_pool(Heartbeat("pool", check), pool)
        pool.submit(free.wait, PATIENCE)
        for _ in range(10):
            send()
            join_senders()
        assert pool._work_queue.qsize() == 1
        assert check._cell[0] == 0
        free.set()
    assert check._cell[0] > 0


def test_a_pool_that_has_been_shut_down_does_not_stop_the_one_who_sends() -> None:
    pool = ThreadPoolExecutor(1)
    send = through_pool(Heartbeat("pool", HeartbeatCheck(max_silence=Duration(5))), pool)
    pool.shutdown()
    for _ in range(3):
        send()
        join_senders()


def join_senders() -> None:
    """Wait until what is sent through pools has been handed to them, or refused."""
    for thread in threading.enumerate():
        if thread.name.startswith("petsage beat through "):
            thread.join(PATIENCE)
            assert not thread.is_alive()


class Once(Executor):
    """A pool that does something else with its first task.

    Args:
        first: what it does with the first.
    """

    def __init__(self, first: Callable[["Future[Any]"], object]) -> None:
        self.tasks = 0
        self._first = first

    def submit(self, call: Callable[..., Any], /, *given: Any, **named: Any) -> "Future[Any]":
        self.tasks += 1
        task: Future[Any] = Future()
        if self.tasks == 1:
            self._first(task)
        else:
            task.set_result(call(*given, **named))
        return task


def raise_it(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(lambda task: task.cancel(), id="cancelled"),
        pytest.param(lambda task: task.set_exception(MemoryError()), id="failed"),
        pytest.param(lambda _: raise_it(RuntimeError("full")), id="refused"),
        pytest.param(lambda _: raise_it(ValueError("full")), id="refused otherwise"),
    ],
)
def test_after_a_beat_that_did_not_arrive_the_next_one_is_sent(
    first: Callable[["Future[Any]"], object],
) -> None:
    check, pool = HeartbeatCheck(max_silence=Duration(5)), Once(first)
    send = through_pool(Heartbeat("pool", check), pool)
    for _ in range(2):
        send()
        join_senders()
    assert pool.tasks == 2
    assert check._cell[0] > 0


class Bounded(ThreadPoolExecutor):
    """A pool of one thread whose `submit` waits while that is busy."""

    def __init__(self) -> None:
        super().__init__(1)
        self._free = threading.Semaphore()

    def submit(self, call: Callable[..., Any], /, *given: Any, **named: Any) -> "Future[Any]":
        self._free.acquire()
        task = super().submit(call, *given, **named)
        task.add_done_callback(lambda _: self._free.release())
        return task


def test_a_pool_that_has_who_submits_wait_delays_no_answer(plane: HealthPlane) -> None:
    free = threading.Event()
    with Bounded() as pool, Asking(plane.address) as asking:
        plane.pool_heartbeat("pool", pool, max_silence=0.2)
        asking.becomes(Status.SERVING)
        pool.submit(free.wait, 2 * PATIENCE)
        asking.becomes(Status.NOT_SERVING)
        assert asking.check("liveness") == Status.SERVING
        free.set()
        asking.becomes(Status.SERVING)
        plane.stop()


class ProcessPoolExecutor(ThreadPoolExecutor):
    """Called as that of the standard library, which would start a process."""


def test_a_pool_of_processes_is_refused_and_nothing_is_declared(plane: HealthPlane) -> None:
    with ProcessPoolExecutor(1) as pool:
        with pytest.raises(TypeError, match=r"^heartbeat pool: the tasks of a ProcessPoolExecutor"):
            plane.pool_heartbeat("pool", pool)
        assert plane.checks == {}


def test_a_full_pool_affects_readiness_only_and_a_free_one_brings_it_back(
    plane: HealthPlane,
) -> None:
    free = threading.Event()
    with ThreadPoolExecutor(2) as pool, Asking(plane.address) as asking:
        plane.pool_heartbeat("pool", pool, max_silence=0.2)
        asking.becomes(Status.SERVING)
        for _ in range(2):
            pool.submit(free.wait, PATIENCE)
        asking.becomes(Status.NOT_SERVING)
        assert asking.check("liveness") == Status.SERVING
        free.set()
        asking.becomes(Status.SERVING)


def test_in_a_second_life_with_less_patience_a_pool_is_asked_more_often(tmp_path: Path) -> None:
    heart = ("[checks.pool]", 'kind = "heartbeat"')
    file = settings_file(tmp_path, *heart, "max_silence = 1000")
    plane = HealthPlane.from_settings(file, listen="127.0.0.1:0")
    with ThreadPoolExecutor(1) as pool:
        plane.pool_heartbeat("pool", pool)
        with plane:
            pass
        settings_file(tmp_path, *heart, "max_silence = 0.2")
        with plane, Asking(plane.address) as asking:
            asking.becomes(Status.SERVING)
            checked = asking.smoke().checks[0].checked_at.ToNanoseconds()
            while asking.smoke().checks[0].checked_at.ToNanoseconds() == checked:
                pass  # until another beat has been seen
            assert asking.check() == Status.SERVING

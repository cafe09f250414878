"""Callbacks of the application that raise, block, stop the plane or are lost cost no answer."""

import asyncio
import gc
import threading
from collections.abc import Callable

import pytest

from petsage_grpc import HealthPlane
from petsage_grpc.plane.thread_host import ThreadHost
from tests.plane.asking import ISOLATION, Asking, Status, host_thread, make, plane_threads
from tests.processes import PATIENCE

UP, DOWN = Status.SERVING, Status.NOT_SERVING


@pytest.mark.skipif(ISOLATION == "process", reason="no callback runs on the loop of the plane")
def test_a_callback_that_would_end_the_loop_of_the_plane_does_not(
    plane: HealthPlane, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(plane._host, ThreadHost)
    plane._host._home.call_soon_threadsafe(raises(SystemExit(3)))
    plane.set("after", serving=True)
    with Asking(plane.address) as asking:
        asking.becomes(UP, "after")
    plane.stop()
    assert "would have ended it" in caplog.text


class Unspeakable(Exception):  # noqa: N818 -- it is somebody else's
    """An exception that can not be shown."""

    def __str__(self) -> str:
        raise SystemExit(9)


@pytest.mark.parametrize("asynchronous", [True, False])
def test_an_exception_that_can_not_be_shown_costs_no_answer(
    plane: HealthPlane, asynchronous: bool
) -> None:
    test_a_callback_that_raises_fails_and_costs_no_answer(plane, asynchronous, Unspeakable())


def raises(error: BaseException) -> Callable[[], None]:
    def check() -> None:
        raise error

    return check


@pytest.mark.parametrize("asynchronous", [True, False])
@pytest.mark.parametrize(
    "error", [ValueError("x"), SystemExit(1), KeyboardInterrupt(), StopIteration()], ids=repr
)
def test_a_callback_that_raises_fails_and_costs_no_answer(
    plane: HealthPlane, asynchronous: bool, error: BaseException
) -> None:
    check = raises(error)

    async def check_asynchronously() -> None:
        check()

    plane.check("bad")(check_asynchronously if asynchronous else check)
    with Asking(plane.address) as asking:
        asking.becomes(DOWN)
        assert asking.check("liveness") == UP
        assert asking.smoke().checks[-1].consecutive_failures >= 1


def test_a_callback_that_never_returns_fails_in_time_and_delays_no_end(plane: HealthPlane) -> None:
    free = threading.Event()

    @plane.check("sync", timeout=0.05, interval=0.1)
    def hangs() -> bool:
        return free.wait(PATIENCE)

    @plane.check("async", timeout=0.05, interval=0.1)
    async def never() -> None:
        await asyncio.Event().wait()

    with Asking(plane.address) as asking:
        asking.becomes(DOWN)
        while [told.message for told in asking.smoke().checks].count("no result yet"):
            pass
        assert asking.check("liveness") == UP
    plane.stop()
    (thread,) = plane_threads()
    assert thread.name.startswith("petsage check ")
    assert thread.name.endswith("hangs")
    free.set()


@pytest.mark.skipif(ISOLATION == "process", reason="no callback runs on the loop of the plane")
def test_a_callback_that_blocks_the_loop_of_the_plane_does_not_block_the_application(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("petsage_grpc.plane.thread_host._PATIENCE", 0.05)
    begun, free = threading.Event(), threading.Event()
    plane = make()

    @plane.check("blocks")
    async def blocks() -> None:
        begun.set()
        free.wait(PATIENCE)

    plane.start()
    assert begun.wait(PATIENCE)
    thread = host_thread()
    plane.stop(0.0)
    assert "the plane's thread does not end, and is left behind" in caplog.text
    free.set()
    thread.join(PATIENCE)
    assert not thread.is_alive(), "it ends as soon as it can"


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_callback_may_stop_the_plane(plane: HealthPlane, asynchronous: bool) -> None:
    stopped = threading.Event()

    def stop() -> None:
        plane.stop()
        stopped.set()

    async def stop_asynchronously() -> None:
        stop()

    thread = host_thread()
    plane.check("stops")(stop_asynchronously if asynchronous else stop)
    assert stopped.wait(PATIENCE)
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_callback_that_nobody_else_keeps_is_kept(plane: HealthPlane) -> None:
    ran = threading.Event()

    def declare() -> None:
        class Bad:
            def __call__(self) -> bool:
                if armed.is_set():
                    ran.set()
                return False

        plane.check("bad", interval=0.02, edge_interval=0.02)(Bad())

    armed = threading.Event()
    declare()
    gc.collect()
    armed.set()
    assert ran.wait(PATIENCE)

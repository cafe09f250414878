"""A plane is started and stopped by anybody at any moment: no hang, and nothing left behind."""

import asyncio
import contextlib
import gc
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from petsage_grpc import HealthPlane, PlaneError
from petsage_grpc.plane import health_plane
from petsage_grpc.plane.process_host import ProcessHost
from petsage_grpc.plane.thread_host import ThreadHost
from tests.plane.asking import (
    ISOLATION,
    OWN_CHECKS,
    Asking,
    Status,
    make,
    plane_threads,
)
from tests.plane.planes import eventually
from tests.processes import PATIENCE

UP, DOWN = Status.SERVING, Status.NOT_SERVING


def test_started_twice_it_says_so_and_goes_on(plane: HealthPlane) -> None:
    address = plane.address
    with pytest.raises(PlaneError, match=r"^the plane runs already: stop it before it is started"):
        plane.start()
    assert plane.address == address
    with Asking(address) as asking:
        assert asking.check() == UP


def test_started_by_many_threads_at_once_it_starts_once() -> None:
    plane = make()

    def start() -> bool:
        try:
            plane.start()
        except PlaneError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        started = [future.result(PATIENCE) for future in [pool.submit(start) for _ in range(8)]]
        assert sorted(started) == [False] * 7 + [True]
        for stopped in [pool.submit(plane.stop) for _ in range(8)]:
            stopped.result(PATIENCE)
    assert not plane_threads(), "who stops it last waits for its end as well"


def test_stopped_twice_or_before_its_start_nothing_happens() -> None:
    plane = make()
    plane.stop()
    plane.start()
    plane.stop()
    plane.stop()
    assert not plane_threads()


def test_a_signal_handler_may_drain_it_whatever_the_main_thread_holds(plane: HealthPlane) -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: plane.drain())
    try:
        with plane._lock, plane._life:
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    with Asking(plane.address) as asking:
        asking.becomes(DOWN)


@pytest.mark.parametrize("what", ["start", "stop"])
def test_nobody_else_waits_while_it_starts_or_stops(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    home = ProcessHost if ISOLATION == "process" else ThreadHost
    begun, free, done = threading.Event(), threading.Event(), getattr(home, what)

    def slowly(host: ThreadHost | ProcessHost, *rest: float) -> object:
        begun.set()
        assert free.wait(PATIENCE)
        return done(host, *rest)

    plane = make()
    if what == "stop":
        plane.start()
    monkeypatch.setattr(home, what, slowly)
    with ThreadPoolExecutor(1) as pool:
        doing = pool.submit(getattr(plane, what))
        assert begun.wait(PATIENCE)
        plane.set("mine", serving=True)
        beat = plane.heartbeat("worker", max_silence=PATIENCE)
        beat()
        with pytest.raises(PlaneError):
            _ = plane.address
        assert not doing.done()
        free.set()
        doing.result(PATIENCE)
    monkeypatch.undo()
    if what == "stop":
        plane.start()
    with plane_of(plane), Asking(plane.address) as asking:
        asking.becomes(UP)
        asking.becomes(UP, "mine")
        assert [told.name for told in asking.smoke().checks] == [*OWN_CHECKS, "worker"]


@contextlib.contextmanager
def plane_of(plane: HealthPlane) -> Iterator[None]:
    """Stop a plane that runs at the end of the block."""
    try:
        yield
    finally:
        plane.stop()


def while_it_starts(monkeypatch: pytest.MonkeyPatch, call: Callable[[], object]) -> None:
    """Have the next planes call something in the midst of their start, as a signal handler may."""
    home = ProcessHost if ISOLATION == "process" else ThreadHost
    start = home.start

    def calling(host: Any) -> tuple[str, ...]:
        call()
        return start(host)

    monkeypatch.setattr(home, "start", calling)


def test_a_drain_while_it_starts_holds_and_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    plane = make()
    while_it_starts(monkeypatch, plane.drain)
    with plane, Asking(plane.address) as asking:
        asking.becomes(DOWN)
        assert asking.check("liveness") == UP
    monkeypatch.undo()
    with plane, Asking(plane.address) as asking:
        asking.becomes(UP)


@pytest.mark.parametrize("who", ["a signal handler", "another thread"])
def test_a_stop_while_it_starts_ends_the_start(monkeypatch: pytest.MonkeyPatch, who: str) -> None:
    plane, stopping = make(), []

    def stop() -> None:
        if who == "a signal handler":
            plane.stop()
            return
        thread = threading.Thread(target=plane.stop)
        thread.start()
        stopping.append(thread)
        while not plane._stop_asked:
            pass

    while_it_starts(monkeypatch, stop)
    with pytest.raises(PlaneError, match=r"^it was stopped while it started$"):
        plane.start()
    monkeypatch.undo()
    for thread in stopping:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert not plane_threads()
    plane.drain()
    with plane, Asking(plane.address) as asking:
        assert asking.check() == UP


def test_started_while_it_starts_it_says_so_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    plane = make()

    def start() -> None:
        with pytest.raises(PlaneError, match=r"^the plane runs already"):
            plane.start()

    while_it_starts(monkeypatch, start)
    with plane, Asking(plane.address) as asking:
        assert asking.check() == UP


def test_a_check_may_stop_it_while_it_starts_and_while_others_stop_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    plane, asked = make(), threading.Event()

    @plane.check("stopper", interval=0.01)
    async def stop() -> None:
        plane.stop()
        asked.set()

    with ThreadPoolExecutor(2) as pool:
        with contextlib.suppress(PlaneError):  # it was stopped while it started
            pool.submit(plane.start).result(PATIENCE)
        assert asked.wait(PATIENCE)
        for stopped in [pool.submit(plane.stop) for _ in range(2)]:
            stopped.result(PATIENCE)
    assert eventually(lambda: not plane_threads())
    assert "left behind" not in caplog.text


def test_a_stop_by_a_check_does_not_end_a_life_that_begins_after_it() -> None:
    plane, running, stopped = make(), threading.Event(), threading.Event()

    @plane.check("stopper", interval=0.01, timeout=60)
    async def stop_when_cancelled() -> None:
        running.set()
        try:
            await asyncio.sleep(60)
        finally:
            if not stopped.is_set():
                plane.stop(0.0)
                stopped.set()

    plane.start()
    assert running.wait(PATIENCE)
    with plane._life:  # the stop that the check asks for waits meanwhile
        plane.stop(0.1)
        assert stopped.wait(PATIENCE)
        plane.start()
    assert plane._stopper is not None
    plane._stopper.join(PATIENCE)
    assert plane.address
    plane.stop()


def test_a_check_that_would_start_it_again_hears_that_it_runs() -> None:
    plane, said = make(), Future[str]()

    @plane.check("starter")
    async def start() -> None:
        try:
            plane.start()
        except PlaneError as error:
            if not said.done():
                said.set_result(str(error))

    with ThreadPoolExecutor(1) as pool:
        pool.submit(plane.start).result(PATIENCE)
        assert said.result(PATIENCE).startswith("the plane runs already")
        pool.submit(plane.stop).result(PATIENCE)


def test_of_two_threads_that_declare_one_name_the_second_is_refused() -> None:
    plane = make()
    plane.heartbeat("worker")
    with pytest.raises(ValueError, match="there are two checks 'worker'"):
        plane._take_in("worker", plane.checks["worker"])  # what both found missing just before


def test_a_plane_that_nobody_keeps_goes_on() -> None:
    address = make().start().address
    gc.collect()
    with Asking(address) as asking:
        assert asking.check() == UP
    (plane,) = health_plane._running
    assert plane.address == address
    plane.stop()
    assert not health_plane._running

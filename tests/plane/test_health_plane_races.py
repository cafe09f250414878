"""A plane is started and stopped by anybody at any moment: no hang, and nothing left behind."""

import asyncio
import contextlib
import gc
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1.health_pb2 import HealthCheckResponse

from petsage_grpc import BindError, Check, HealthPlane, PlaneError
from petsage_grpc.plane import health_plane
from petsage_grpc.plane.process_host import ProcessHost
from petsage_grpc.plane.thread_host import ThreadHost
from petsage_grpc.rpc.server import Server
from petsage_grpc.settings_load import load_settings
from tests.plane.asking import (
    ISOLATION,
    OWN_CHECKS,
    Asking,
    Status,
    make,
    plane_threads,
)
from tests.plane.planes import can_bind, eventually
from tests.processes import PATIENCE

UP, DOWN = Status.SERVING, Status.NOT_SERVING


def test_started_twice_it_says_so_and_goes_on(plane: HealthPlane) -> None:
    address = plane.address
    with pytest.raises(PlaneError, match=r"^the plane runs already: stop it before it is started"):
        plane.start()
    assert plane.address == address
    with Asking(address) as asking:
        assert asking.check() == UP


def asked_while_it_starts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have its server asked as soon as it answers; what it says comes into the list."""
    start, said = Server.start, list[int]()

    async def start_and_ask(server: Server) -> None:
        await start(server)
        async with grpc.aio.insecure_channel(server.addresses[0]) as channel:
            check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
            answer = HealthCheckResponse.FromString(await check(b"", timeout=PATIENCE))
            said.append(answer.status)

    monkeypatch.setattr(Server, "start", start_and_ask)
    return said


@pytest.mark.skipif(ISOLATION == "process", reason="the start of a child can not be held up")
def test_who_asks_while_it_starts_is_told_of_all_that_was_declared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = asked_while_it_starts(monkeypatch)
    plane = HealthPlane.from_settings(listen="127.0.0.1:0", checks={})
    plane.heartbeat("worker", max_silence=60)
    with plane:
        pass
    assert said == [DOWN]


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


def start_interrupted(plane: HealthPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start a plane whose start has been patched to be interrupted, and take the patch away."""
    with pytest.raises(KeyboardInterrupt):
        plane.start()
    monkeypatch.undo()


def starts_as_ever(plane: HealthPlane) -> None:
    """Make sure that nothing of a plane is left, and that it starts."""
    assert not plane_threads()
    with plane, Asking(plane.address) as asking:
        assert asking.check() == UP


def test_an_interrupt_while_it_starts_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(_: "Future[Any]", timeout: float | None = None) -> None:
        raise KeyboardInterrupt

    plane = make()
    monkeypatch.setattr(Future, "result", interrupted)
    start_interrupted(plane, monkeypatch)
    starts_as_ever(plane)


def test_an_interrupt_while_its_thread_starts_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started, begin = [], threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        begin(thread)
        if thread.name in ("petsage plane", "petsage link"):
            started.append(thread)
            raise KeyboardInterrupt

    plane = make()
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    start_interrupted(plane, monkeypatch)
    (thread,) = started
    thread.join(PATIENCE)
    starts_as_ever(plane)


def test_a_thread_that_has_not_begun_when_it_is_stopped_does_not_begin() -> None:
    host = ThreadHost(load_settings(environ={}, listen="127.0.0.1:0", checks={}), {}, {})
    host.stop(0.0)
    with pytest.raises(PlaneError, match=r"^it was stopped while it started$"):
        host.start()
    assert not plane_threads()


def test_an_interrupt_when_it_has_just_started_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    plane = make()
    monkeypatch.setattr(plane, "_tell_all", interrupted)
    start_interrupted(plane, monkeypatch)
    assert plane not in health_plane._running
    starts_as_ever(plane)


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


class Passing(Check):
    """One that passes."""

    async def run(self) -> None:
        pass


class Untouchable(Check):
    """A check that lets nobody tell it anything."""

    async def run(self) -> None:
        """Pass."""

    def __setattr__(self, name: str, value: object) -> None:
        raise TypeError(f"{name} can not be told")


@pytest.mark.skipif(ISOLATION == "process", reason="the check is not where the ports are")
def test_a_start_that_fails_late_frees_its_port_and_tells_nobody_that_it_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with make() as first:
        address = first.address
    said = asked_while_it_starts(monkeypatch)
    plane = make(listen=address)
    plane.add_check("bad", Untouchable())
    with pytest.raises(PlaneError, match=r"^check bad can not be taken in: TypeError\(.* be told"):
        plane.start()
    assert said == [DOWN]
    monkeypatch.undo()
    assert not plane_threads()
    with make(listen=address) as other, Asking(other.address) as asking:
        assert asking.check() == UP


def test_a_start_that_fails_in_the_midst_of_its_ports_gives_them_back() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    plane = make(listen=[f"0.0.0.0:{port}", f"127.0.0.1:{port}"])
    for _ in range(2):
        with pytest.raises(BindError):
            plane.start()
        assert can_bind(f"0.0.0.0:{port}")
    assert not plane_threads()


def test_a_check_that_stands_for_two_begins_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("petsage_grpc.plane.thread_host._START", 1000.0)
    plane, check = make(), Passing()
    plane.add_check("one", check)
    plane.add_check("two", check)
    with plane, Asking(plane.address) as asking:
        asking.becomes(UP)


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


def test_no_check_of_the_application_holds_up_its_start() -> None:
    plane, released, told = make(), threading.Event(), Future[bool]()

    @plane.check("slow", timeout=10, interval=20)
    async def slow() -> None:
        if not told.done():
            told.set_result(released.wait(5))

    with plane:
        released.set()
        assert told.result(PATIENCE)


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

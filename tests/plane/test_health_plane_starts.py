"""A start is whole or leaves nothing behind: interrupted, asked meanwhile, or failed late."""

import threading
from concurrent.futures import Future
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1.health_pb2 import HealthCheckResponse

from petsage_grpc import BindError, Check, HealthPlane, PlaneError
from petsage_grpc.plane import health_plane
from petsage_grpc.plane.thread_host import ThreadHost
from petsage_grpc.rpc.server import Server
from petsage_grpc.settings_load import load_settings
from tests.faults import free_port
from tests.plane.asking import ISOLATION, Asking, Status, make, plane_threads
from tests.plane.planes import can_bind
from tests.processes import PATIENCE

UP, DOWN = Status.SERVING, Status.NOT_SERVING


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
    port = free_port()
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


def test_no_check_of_the_application_holds_up_its_start() -> None:
    plane, released, told = make(), threading.Event(), Future[bool]()

    @plane.check("slow", timeout=10, interval=20)
    async def slow() -> None:
        if not told.done():
            told.set_result(released.wait(5))

    with plane:
        released.set()
        assert told.result(PATIENCE)

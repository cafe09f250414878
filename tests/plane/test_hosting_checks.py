"""An async check runs on the event loop where it is declared, whatever becomes of that loop."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from petsage_grpc import HealthPlane
from petsage_grpc.checks.python import FunctionCheck
from petsage_grpc.core.check import CheckFailedError
from tests.plane.asking import Asking
from tests.plane.planes import NOT_SERVING, SERVING
from tests.processes import PATIENCE


class Elsewhere:
    """An event loop on a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def do(self, call: Callable[[], Any]) -> Any:
        """Call a function there; return what it returns."""

        async def called() -> Any:
            return call()

        return asyncio.run_coroutine_threadsafe(called(), self.loop).result(PATIENCE)

    def check(self, function: Callable[[], Any]) -> FunctionCheck:
        """Make a check there."""
        made: FunctionCheck = self.do(lambda: FunctionCheck(function))
        return made

    @contextlib.contextmanager
    def blocked(self) -> Iterator[None]:
        """Block it for the time of the block."""
        go_on, begun = threading.Event(), threading.Event()

        def block() -> None:
            begun.set()
            go_on.wait(PATIENCE)

        self.loop.call_soon_threadsafe(block)
        begun.wait(PATIENCE)
        try:
            yield
        finally:
            go_on.set()

    def close(self) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(PATIENCE)
            self.loop.close()


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    made = Elsewhere()
    yield made
    made.close()


async def test_it_runs_where_it_was_made(elsewhere: Elsewhere) -> None:
    loops = []

    async def look() -> None:
        loops.append(asyncio.get_running_loop())

    def later() -> Any:
        return look()  # what a function gives back belongs there too

    await elsewhere.check(look).run()
    await elsewhere.check(later).run()
    await FunctionCheck(look).run()
    assert loops == [elsewhere.loop, elsewhere.loop, asyncio.get_running_loop()]


async def test_what_it_says_comes_back(elsewhere: Elsewhere) -> None:
    async def no() -> bool:
        return False

    async def bad() -> None:
        raise LookupError("no such account")

    async def leave() -> None:
        raise SystemExit(3)

    async def cancel() -> None:
        raise asyncio.CancelledError

    with pytest.raises(CheckFailedError, match="no returned False"):
        await elsewhere.check(no).run()
    with pytest.raises(LookupError, match="no such account"):
        await elsewhere.check(bad).run()
    with pytest.raises(CheckFailedError, match=r"raised SystemExit\(3\)"):
        await elsewhere.check(leave).run()
    with pytest.raises(CheckFailedError, match="was cancelled: perhaps its event loop ends"):
        await elsewhere.check(cancel).run()
    assert elsewhere.do(lambda: "goes on") == "goes on"


async def test_a_loop_that_is_closed_is_told(elsewhere: Elsewhere) -> None:
    async def look() -> None: ...

    check = elsewhere.check(look)
    elsewhere.close()
    with pytest.raises(CheckFailedError, match=r"the event loop of .*look has been closed"):
        await check.run()


async def test_a_cancellation_is_passed_on_and_waited_for(elsewhere: Elsewhere) -> None:
    begun, cancelled, end = asyncio.Event(), asyncio.Event(), threading.Event()
    here = asyncio.get_running_loop()

    async def hang() -> None:
        here.call_soon_threadsafe(begun.set)
        try:
            await asyncio.Event().wait()
        finally:
            here.call_soon_threadsafe(cancelled.set)
            end.wait(PATIENCE)

    check = elsewhere.check(hang)
    run = asyncio.create_task(check.run())
    await begun.wait()
    assert check.doing.endswith("hang")
    assert "event loop" not in check.doing
    run.cancel()
    await cancelled.wait()
    assert not run.done(), "or it would be started a second time beside this run"
    end.set()
    with pytest.raises(asyncio.CancelledError):
        await run


async def test_a_loop_that_is_blocked_is_left_behind_by_the_second_cancellation(
    elsewhere: Elsewhere,
) -> None:
    ran = []

    async def look() -> None:
        ran.append(1)

    check = elsewhere.check(look)
    with elsewhere.blocked():
        run = asyncio.create_task(check.run())
        await asyncio.sleep(0)
        assert check.doing.startswith("waiting for the event loop of ")
        run.cancel()
        await asyncio.sleep(0)
        assert not run.done()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
    elsewhere.do(lambda: None)
    assert ran == [], "it was cancelled before it began"


def test_a_plane_asks_on_the_loop_of_the_application_and_is_not_held_up_by_it(
    elsewhere: Elsewhere,
) -> None:
    plane = HealthPlane.from_settings(listen="127.0.0.1:0", checks={})
    loops = set()

    async def look() -> None:
        loops.add(asyncio.get_running_loop())

    policy = {"interval": 0.05, "edge_interval": 0.02, "timeout": 0.05}
    elsewhere.do(lambda: plane.check("cache", **policy)(look))
    with plane, Asking(plane.address) as client:
        client.becomes(SERVING)
        with elsewhere.blocked():
            client.becomes(NOT_SERVING)
        client.becomes(SERVING)
        elsewhere.close()
        client.becomes(NOT_SERVING)
    assert loops == {elsewhere.loop}


def test_a_word_does_not_hold_in_a_drain_and_who_watches_is_told() -> None:
    with (
        HealthPlane.from_settings(listen="127.0.0.1:0", checks={}) as plane,
        Asking(plane.address) as client,
    ):
        plane.set("petsage.v1.Orders", serving=True)
        client.becomes(SERVING, "petsage.v1.Orders")
        watch = client.watch("petsage.v1.Orders")
        assert next(watch) == SERVING
        plane.drain()
        assert next(watch) == NOT_SERVING

"""A blocking piece of work costs one thread, and what it raises never more than its own run."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial

import pytest

from petsage_grpc.checks._thread import MAX_THREADS, run_blocking, set_thread_limit
from petsage_grpc.core.check import Check
from tests.conftest import settle


class Idle(Check):
    """A check that does nothing by itself."""

    async def run(self) -> None: ...


CHECK = Idle()


async def test_it_returns_when_the_work_is_done_on_a_daemon_thread_of_that_name() -> None:
    seen: list[threading.Thread] = []
    await run_blocking(
        CHECK, lambda: seen.append(threading.current_thread()), name="a piece of work"
    )
    assert [(thread.name, thread.daemon) for thread in seen] == [("a piece of work", True)]


async def test_what_the_work_raises_is_raised() -> None:
    def work() -> None:
        raise OSError("no such thing")

    with pytest.raises(OSError, match="no such thing"):
        await run_blocking(CHECK, work, name="work")


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), StopIteration()])
async def test_an_error_that_would_end_the_event_loop_or_the_wait_is_only_the_runs(
    error: BaseException,
) -> None:
    def work() -> None:
        raise error

    async with asyncio.timeout(5):
        with pytest.raises(RuntimeError):
            await run_blocking(CHECK, work, name="work")


@contextlib.asynccontextmanager
async def hanging() -> "AsyncIterator[asyncio.Task[None]]":
    """A run whose thread has begun and hangs until the block is left."""
    started, release = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        release.wait(5)

    run = asyncio.create_task(run_blocking(CHECK, work, name="hanging work"))
    try:
        assert await asyncio.to_thread(started.wait, 5)
        yield run
    finally:
        release.set()
        await asyncio.wait({run}, timeout=5)


async def cancel(run: "asyncio.Task[None]") -> None:
    run.cancel()
    await asyncio.wait({run}, timeout=0.01)


async def test_a_cancelled_wait_ends_when_the_thread_does_and_not_before() -> None:
    async with hanging() as run:
        await cancel(run)
        assert not run.done()
    assert run.cancelled()


async def test_a_wait_that_is_cancelled_twice_leaves_the_thread_behind() -> None:
    async with hanging() as run:
        await cancel(run)
        await cancel(run)
        assert run.cancelled()


async def test_an_error_after_the_cancellation_is_not_reported_as_never_retrieved() -> None:
    started, release = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        release.wait(5)
        raise OSError("too late")

    run = asyncio.create_task(run_blocking(CHECK, work, name="hanging work"))
    assert await asyncio.to_thread(started.wait, 5)
    run.cancel()
    release.set()
    await asyncio.wait({run}, timeout=5)
    assert run.cancelled()  # warnings are errors: an unretrieved one would fail this test


def test_a_thread_that_ends_after_its_loop_was_closed_says_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[object] = []
    monkeypatch.setattr(threading, "excepthook", said.append)
    release, threads = threading.Event(), list[threading.Thread]()

    def work() -> None:
        threads.append(threading.current_thread())
        release.wait(5)

    loop = asyncio.new_event_loop()
    run = loop.create_task(run_blocking(CHECK, work, name="hanging work"))
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    release.set()
    threads[0].join(5)
    assert not said
    assert not run.done()
    run._log_destroy_pending = False  # type: ignore[attr-defined]  # it can never end: no loop


@pytest.fixture
def one_thread() -> Iterator[None]:
    set_thread_limit(1)
    yield
    set_thread_limit(MAX_THREADS)


async def test_who_finds_all_threads_taken_says_so_and_waits_in_line(one_thread: None) -> None:
    later = Idle()
    done: list[int] = []
    async with hanging():
        runs = [
            asyncio.create_task(run_blocking(later, partial(done.append, number), name="later"))
            for number in range(3)
        ]
        await settle()
        assert later.doing == "all 1 threads (max_threads) are busy"
        assert not done
    await asyncio.wait_for(asyncio.gather(*runs), 5)
    assert done == [0, 1, 2]


async def test_who_gives_up_waiting_for_a_thread_leaves_the_line(one_thread: None) -> None:
    done: list[int] = []
    async with hanging():
        impatient, patient = (
            asyncio.create_task(run_blocking(CHECK, partial(done.append, number), name="later"))
            for number in range(2)
        )
        await settle()
        impatient.cancel()
        await settle()
        assert impatient.cancelled()
    await asyncio.wait_for(patient, 5)
    assert done == [1]
    await asyncio.wait_for(run_blocking(CHECK, partial(done.append, 2), name="again"), 5)


async def test_a_turn_that_comes_to_one_who_has_just_given_up_is_not_lost(
    one_thread: None,
) -> None:
    async with hanging() as holder:
        late = asyncio.create_task(run_blocking(CHECK, lambda: None, name="late"))
        await settle()
        holder.add_done_callback(lambda _: late.cancel())
    await asyncio.wait({late}, timeout=5)
    await asyncio.wait_for(run_blocking(CHECK, lambda: None, name="again"), 5)

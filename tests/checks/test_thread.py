"""A blocking piece of work costs one thread, and what it raises never more than its own run."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator

import pytest

from petsage_grpc.checks._thread import run_blocking


async def test_it_returns_when_the_work_is_done_on_a_daemon_thread_of_that_name() -> None:
    seen: list[threading.Thread] = []
    await run_blocking(lambda: seen.append(threading.current_thread()), name="a piece of work")
    assert [(thread.name, thread.daemon) for thread in seen] == [("a piece of work", True)]


async def test_what_the_work_raises_is_raised() -> None:
    def work() -> None:
        raise OSError("no such thing")

    with pytest.raises(OSError, match="no such thing"):
        await run_blocking(work, name="work")


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), StopIteration()])
async def test_an_error_that_would_end_the_event_loop_or_the_wait_is_only_the_runs(
    error: BaseException,
) -> None:
    def work() -> None:
        raise error

    async with asyncio.timeout(5):
        with pytest.raises(RuntimeError):
            await run_blocking(work, name="work")


@contextlib.asynccontextmanager
async def hanging() -> "AsyncIterator[asyncio.Task[None]]":
    """A run whose thread has begun and hangs until the block is left."""
    started, release = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        release.wait(5)

    run = asyncio.create_task(run_blocking(work, name="hanging work"))
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

    run = asyncio.create_task(run_blocking(work, name="hanging work"))
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
    run = loop.create_task(run_blocking(work, name="hanging work"))
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    release.set()
    threads[0].join(5)
    assert not said
    assert not run.done()
    run._log_destroy_pending = False  # type: ignore[attr-defined]  # it can never end: no loop

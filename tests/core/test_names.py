"""The names: what Check reads and what a watcher gets to see."""

import asyncio

import pytest

from petsage_grpc.core.fold import Answer
from petsage_grpc.core.names import Names, NamesClosedError
from petsage_grpc.core.status import Status
from tests.conftest import ManualClock, settle

SERVING = Answer(Status.SERVING)
NOT_SERVING = Answer(Status.NOT_SERVING)


@pytest.fixture
def names(clock: ManualClock) -> Names:
    return Names(clock.now)


def test_a_name_answers_what_was_put_last(names: Names) -> None:
    assert names.read("a") is Status.SERVICE_UNKNOWN
    names.put("a", SERVING)
    assert names.read("a") is Status.SERVING
    names.put("a", NOT_SERVING)
    assert names.read("a") is Status.NOT_SERVING
    assert names.read_all() == {"a": Status.NOT_SERVING}


def test_a_serving_that_nobody_renews_is_not_believed_even_without_a_timer(
    names: Names, clock: ManualClock
) -> None:
    names.put("a", Answer(Status.SERVING, fresh_until=clock.now() + 5))
    clock.jump(4.9)
    assert names.read("a") is Status.SERVING
    clock.jump(0.1)
    assert names.read("a") is Status.NOT_SERVING
    assert names.read_all() == {"a": Status.NOT_SERVING}


async def test_a_watcher_gets_the_present_status_first_and_then_each_change(names: Names) -> None:
    names.put("a", SERVING)
    with names.watch("a") as watcher:
        assert await watcher.next() is Status.SERVING
        names.put("a", NOT_SERVING)
        assert await watcher.next() is Status.NOT_SERVING


async def test_a_watcher_of_an_unknown_name_learns_of_it_when_it_is_registered(
    names: Names,
) -> None:
    with names.watch("later") as watcher:
        assert await watcher.next() is Status.SERVICE_UNKNOWN
        waiting = asyncio.create_task(watcher.next())
        await settle()
        names.put("later", SERVING)
        assert await waiting is Status.SERVING


async def test_an_answer_that_does_not_change_the_status_wakes_nobody(names: Names) -> None:
    names.put("a", SERVING)
    with names.watch("a") as watcher:
        await watcher.next()
        waiting = asyncio.create_task(watcher.next())
        names.put("a", Answer(Status.SERVING, fresh_until=1e9))
        await settle()
        assert not waiting.done()
        waiting.cancel()


async def test_a_slow_watcher_gets_the_newest_status_only(names: Names) -> None:
    names.put("a", SERVING)
    with names.watch("a") as watcher:
        await watcher.next()
        for answer in (NOT_SERVING, SERVING, NOT_SERVING):
            names.put("a", answer)
        assert await watcher.next() is Status.NOT_SERVING
        waiting = asyncio.create_task(watcher.next())
        names.put("a", SERVING)
        names.put("a", NOT_SERVING)
        await settle()
        assert not waiting.done(), "there and back again is no change"
        waiting.cancel()


async def test_a_watcher_never_takes_a_status_that_went_stale_before_it_could(
    names: Names, clock: ManualClock
) -> None:
    names.put("a", NOT_SERVING)
    with names.watch("a") as watcher:
        await watcher.next()
        waiting = asyncio.create_task(watcher.next())
        await settle()
        names.put("a", Answer(Status.SERVING, fresh_until=clock.now() + 5))
        clock.jump(5)
        await settle()
        assert not waiting.done()
        waiting.cancel()


async def test_watchers_take_their_last_status_and_end_when_the_names_are_closed(
    names: Names,
) -> None:
    names.put("a", SERVING)
    with names.watch("a") as idle, names.watch("a") as behind:
        await idle.next()
        waiting = asyncio.create_task(idle.next())
        await settle()
        names.close()
        with pytest.raises(NamesClosedError):
            await waiting
        assert await behind.next() is Status.SERVING
        with pytest.raises(NamesClosedError):
            await behind.next()


async def test_nothing_is_kept_of_watchers_that_have_left(names: Names) -> None:
    for number in range(100):
        with names.watch(f"unknown-{number}") as watcher:
            await watcher.next()
            watcher.leave()
    assert names.read_all() == {}
    assert not names._watchers


async def test_a_wait_that_is_cancelled_loses_no_change(names: Names) -> None:
    names.put("a", SERVING)
    with names.watch("a") as watcher:
        await watcher.next()
        waiting = asyncio.create_task(watcher.next())
        await settle()
        waiting.cancel()
        names.put("a", NOT_SERVING)
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await watcher.next() is Status.NOT_SERVING

"""The link: messages arrive whole and in order, and a peer that does not read costs no memory."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from petsage_grpc.plane import link
from petsage_grpc.plane.link import Link
from tests.processes import PATIENCE


class Pair:
    """Two ends of a link, and what each has heard."""

    def __init__(self, near: Link, far: Link, heard: "asyncio.Queue[Any]") -> None:
        self.near = near
        self.far = far
        self._heard = heard

    async def hear(self) -> Any:
        async with asyncio.timeout(PATIENCE):
            return await self._heard.get()


@contextlib.asynccontextmanager
async def linked() -> AsyncIterator[Pair]:
    ours, theirs = socket.socketpair()
    heard: asyncio.Queue[Any] = asyncio.Queue()
    near = await Link.open(ours, lambda _: None, lambda: None)
    far = await Link.open(theirs, heard.put_nowait, lambda: heard.put_nowait("lost"))
    yield Pair(near, far, heard)
    near.close()
    far.close()


async def test_messages_arrive_in_their_order() -> None:
    async with linked() as pair:
        for number in range(100):
            pair.near.put(number, ("number", number, "x" * number * 100))
        assert [(await pair.hear())[1] for _ in range(100)] == list(range(100))


async def test_the_end_is_heard_after_the_last_message() -> None:
    async with linked() as pair:
        pair.near.put("it", "last words")
        pair.near.close()
        assert [await pair.hear(), await pair.hear()] == ["last words", "lost"]


async def test_a_peer_that_does_not_read_gets_the_newest_of_each_key_and_no_more() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        near = await Link.open(ours, lambda _: None, lambda: None)
        for number in range(5_000):
            near.put(("word", number % 10), (number, "x" * 1_000))
        assert near.backlog <= 10
        heard: asyncio.Queue[Any] = asyncio.Queue()
        far = await Link.open(theirs.dup(), heard.put_nowait, lambda: None)
        last: dict[int, int] = {}
        async with asyncio.timeout(PATIENCE):
            while len(last) < 10 or min(last.values()) < 4_990:
                number, _ = await heard.get()
                last[number % 10] = number
        near.close()
        far.close()


async def test_garbage_ends_the_link() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        lost = asyncio.Event()
        await Link.open(ours, lambda _: None, lost.set)
        theirs.sendall(b"\xff\xff\xff\xff")
        async with asyncio.timeout(PATIENCE):
            await lost.wait()


async def test_a_message_that_can_not_be_sent_or_read_costs_itself_alone(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "_LONGEST", 1_000)

    class Local:
        """Not to be found by its name."""

    async with linked() as pair:
        pair.near.put("local", ("local", Local()))
        pair.near.put("long", ("long", 2_000 * "x"))
        pair.near.put("unread", ("unread", Unreadable()))
        pair.near.put("good", ("good",))
        assert await pair.hear() == ("good",)
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "the plane's process can not be told 'local'",
        "the plane's process can not be told 'long': too long",
        "a message can not be read",
    ]


class Unreadable:
    """What can be pickled, but not be made again."""

    def __reduce__(self) -> tuple[Any, ...]:
        return int, ("no number",)

"""A name that is looked up for ever holds up neither other lookups nor the end of the loop."""

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest

from petsage_grpc.plane.loop import PlaneLoop

really = socket.getaddrinfo


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Let the lookup of the name "stuck" hang, as with a DNS server that is silent."""
    begun, release = threading.Event(), threading.Event()

    def getaddrinfo(host: str, *arguments: object, **options: int) -> object:
        if host == "stuck" and not options.get("flags", 0) & socket.AI_NUMERICHOST:
            begun.set()
            release.wait(20)
        return really(host, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield begun
    release.set()


def run(work: object) -> object:
    with asyncio.Runner(loop_factory=PlaneLoop) as runner:
        return runner.run(work)  # type: ignore[arg-type]


def test_it_finds_what_the_system_finds() -> None:
    async def look_up() -> object:
        loop = asyncio.get_running_loop()
        return await loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)

    assert run(look_up()) == really("localhost", 80, type=socket.SOCK_STREAM)


def test_an_error_of_the_lookup_is_raised() -> None:
    async def look_up() -> None:
        await asyncio.get_running_loop().getaddrinfo("nobody.invalid", 80)

    with pytest.raises(socket.gaierror):
        run(look_up())


def test_lookups_that_hang_hold_up_neither_others_nor_the_end(stuck: threading.Event) -> None:
    async def look_up() -> int:
        loop = asyncio.get_running_loop()
        threads = threading.active_count()
        for _ in range(100):
            hanging = asyncio.create_task(loop.getaddrinfo("stuck", 80))
            await asyncio.sleep(0)
            hanging.cancel()
            await asyncio.wait([hanging])
        assert await asyncio.to_thread(stuck.wait, 10)
        assert threading.active_count() - threads <= 2, "one for the name, one for the test itself"
        found = await asyncio.wait_for(loop.getaddrinfo("localhost", 80), 10)
        return len(found)

    assert run(look_up())


def test_who_asks_for_a_name_that_is_looked_up_already_gets_the_same_answer() -> None:
    async def look_up() -> list[object]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.getaddrinfo("localhost", 80) for _ in range(50)))

    answers = run(look_up())
    assert isinstance(answers, list)
    assert all(answer == really("localhost", 80) for answer in answers)

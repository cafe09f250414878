"""The plane's selector is as good as any, and keeps the interpreter no longer than it may."""

import selectors
import socket
import threading
from collections.abc import Iterator

import pytest

from petsage_grpc.plane.selector import StayingSelector, StayingSocket

BOTH = selectors.EVENT_READ | selectors.EVENT_WRITE


@pytest.fixture
def selector() -> Iterator[StayingSelector]:
    """Make one."""
    with StayingSelector() as made:
        yield made


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Make two sockets that are connected, and do not block."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


def test_it_tells_what_is_ready(
    selector: StayingSelector, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    selector.register(ours, selectors.EVENT_READ, "ours")
    for moment in (0, 0.001):
        assert selector.select(moment) == []
    theirs.send(b"a")
    waits: list[float | None] = [0, -1, 10, None]
    for timeout in waits:
        ((key, events),) = selector.select(timeout)
        assert (key.fileobj, key.data, events) == (ours, "ours", selectors.EVENT_READ)
    selector.modify(ours, BOTH)
    assert [events for _, events in selector.select(0)] == [BOTH]
    selector.unregister(ours)
    assert selector.select(0) == []


def test_it_waits_for_what_becomes_ready(
    selector: StayingSelector, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    selector.register(ours, selectors.EVENT_READ)
    for _ in range(3):  # also right after it has had something
        later = threading.Timer(0.01, theirs.send, (b"a",))
        later.start()
        assert len(selector.select(10)) == 1
        assert ours.recv(10) == b"a"
        later.join()


def test_it_keeps_the_interpreter_for_a_small_part_of_the_time_at_most(
    selector: StayingSelector,
    pair: tuple[socket.socket, socket.socket],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = pair
    selector.register(ours, selectors.EVENT_READ)
    now, kept = 100.0, 0.0

    def wait(seconds: float) -> bool:
        nonlocal now, kept
        now, kept = now + seconds, kept + seconds
        return False

    monkeypatch.setattr("petsage_grpc.plane.selector.monotonic", lambda: now)
    monkeypatch.setattr(selector, "_is_ready", wait)
    theirs.send(b"a")
    for _ in range(1000):  # what is ready whenever it looks, each tenth of a millisecond
        assert selector.select(10)
        now += 0.0001
    assert 0.01 < kept < 0.2 * (now - 100.0) + 0.0011


def test_a_socket_that_stays_reads_as_others_do(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    ours.__class__ = StayingSocket
    with pytest.raises(BlockingIOError):
        ours.recv(1)
    theirs.send(b"abc")
    assert (ours.recv(1, socket.MSG_PEEK), ours.recv(2), ours.recv(5)) == (b"a", b"ab", b"c")
    ours.settimeout(10)
    later = threading.Timer(0.01, theirs.send, (b"later",))
    later.start()
    assert ours.recv(5) == b"later"
    later.join()
    theirs.close()
    assert ours.recv(5) == b""
    ours.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        ours.recv(1)

"""One peer can not take the connections or the memory of all, and no other is touched for that."""

import asyncio
import contextlib
import socket
import threading
from pathlib import Path

import pytest

from petsage_grpc.rpc import _memory, guard
from petsage_grpc.rpc._channelz import calls_of, list_servers
from petsage_grpc.rpc._sockets import Connection, Connections, list_descriptors
from petsage_grpc.rpc.guard import Guard, Watches
from petsage_grpc.rpc.limits import Limit, Refusals
from tests.processes import PATIENCE
from tests.rpc.conftest import SERVING
from tests.rpc.limited import CHECK, OTHER, WATCH, Caller, Limited, codes_of_a_crowd, limited

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="only /proc tells which connections there are"
)
MANY = 10_000
CAME = 200
"""Calls after which a guard looks at those under way."""


class Guarded:
    """A guard of a server besides its own, that looks when it is told to."""

    def __init__(
        self, made: Limited, watches: Watches | None = None, *, most_connections: int = MANY,
        most_of_peer: int = MANY, most_calls: int | None = None,
    ) -> None:  # fmt: skip
        self.refusals = Refusals()
        self.connections = Connections([made.address])
        self.guard = Guard(
            watches or made.health, most_connections=most_connections, most_of_peer=most_of_peer,
            most_calls=most_calls, refusals=self.refusals,
        )  # fmt: skip
        self.guard._connections = self.connections

    def look(self, came: int = CAME) -> int:
        for _ in range(came):
            self.guard.came()
        return self.guard.look()

    def peers(self) -> list[str]:
        return [connection.peer for connection in self.connections.find(list_descriptors())]


async def connected(made: Limited, source: str, number: int) -> list[Caller]:
    """Connect so often, and wait until the server has taken up each connection."""
    callers = [await Caller.connect(made.address, source) for _ in range(number)]
    for caller in callers:
        assert await caller.check() is None
    return callers


async def leave(callers: list[Caller]) -> None:
    for caller in callers:
        await caller.leave()


async def test_the_newest_connections_of_a_peer_with_too_many_are_closed() -> None:
    async with limited() as made:
        guarded = Guarded(made, most_of_peer=3)
        old, others = await connected(made, OTHER, 3), await connected(made, "127.0.0.1", 3)
        assert guarded.look() == 0
        new = await connected(made, OTHER, 2)
        assert guarded.look() == 2
        for caller in new:
            await caller.ended()
        for caller in (*old, *others):
            assert await caller.check() is None
        assert guarded.refusals.counts() == {"max_connections_per_peer": 2}

        await leave(old)
        while OTHER in guarded.peers():
            assert await others[0].check() is None
        again = await connected(made, OTHER, 3)
        assert guarded.look() == 0, "it may have as many again"
        await leave([*again, *new, *others])


def test_between_two_hang_ups_there_is_time_for_the_ends_of_the_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    did: list[object] = []
    made = Guard(Granted(), most_connections=9, most_of_peer=9, most_calls=9, refusals=Refusals())

    def close(_: int, connection: Connection) -> bool:
        did.append(connection.peer_port)
        return True

    monkeypatch.setattr(made._stopping, "wait", did.append)
    monkeypatch.setattr(made._connections, "close", close)
    one, two = (Connection("127.0.0.1", 50051, OTHER, port) for port in (1, 2))
    worst = [(1000, one), (500, two)]
    assert made._close(worst, {one: 3, two: 4}, OTHER, Limit("max_calls_per_peer", 9)) == 2
    assert did == [1, 1000 * guard._ENDS, 2, 500 * guard._ENDS]


async def test_of_too_many_connections_in_all_those_of_whom_has_most_are_closed() -> None:
    async with limited() as made:
        guarded = Guarded(made, most_connections=4)
        greedy, few = await connected(made, OTHER, 3), await connected(made, "127.0.0.1", 1)
        assert guarded.look() == 0
        new = await connected(made, "127.0.0.3", 2)
        assert guarded.look() == 2
        gone = [caller for caller in (*greedy, *few, *new) if await caller.is_gone()]
        assert len(gone) == 2
        assert set(gone) < {*greedy, new[1]}
        assert guarded.refusals.counts() == {"max_connections": 2}
        await leave([*greedy, *few, *new])


async def test_a_check_from_elsewhere_gets_through_while_one_peer_holds_thousands() -> None:
    async with limited(max_connections=1500, max_connections_per_peer=100) as made:
        host, _, port = made.address.rpartition(":")
        with contextlib.ExitStack() as stack:
            for _ in range(2000):
                held = stack.enter_context(socket.socket())
                held.bind((OTHER, 0))
                held.connect((host, int(port)))
            assert await made.check() == SERVING


async def test_a_peer_that_takes_no_answers_is_hung_up_on_where_it_has_most_of_them() -> None:
    async with limited(max_calls_per_peer=5) as made:
        stuck = await Caller.connect(made.address, OTHER, window=0)
        few = await Caller.connect(made.address, OTHER, window=0)
        async with stuck, few, await Caller.connect(made.address) as else_:
            few.begin(CHECK)
            for _ in range(6):
                stuck.begin(CHECK)
            await stuck.ended()
            assert await else_.check() is None
            few.read_more()
            assert await few.check() is None
    assert made.refusals.counts() == {"max_calls_per_peer": 1}


async def test_granted_watches_are_not_among_the_calls_of_a_peer() -> None:
    async with limited() as made:
        guarded = Guarded(made, most_calls=3)
        (one,) = await connected(made, OTHER, 1)
        assert [await one.watch() for _ in range(10)] == [None] * 10
        assert made.health.granted == 10
        assert (guarded.look(), guarded.look()) == (0, 0)
        await one.leave()


async def test_the_watches_of_others_excuse_no_call() -> None:
    async with limited(max_calls_per_peer=5) as made:
        stuck = await Caller.connect(made.address, OTHER, window=0)
        async with stuck, await Caller.connect(made.address) as else_:
            assert [await else_.watch() for _ in range(50)] == [None] * 50
            for _ in range(20):
                stuck.begin(CHECK)
            await stuck.ended()
            assert await else_.check() is None
    assert made.refusals.counts() == {"max_calls_per_peer": 1}


@pytest.mark.parametrize("evicted", [False, True])
async def test_the_watches_of_a_caller_that_are_over_excuse_no_call(evicted: bool) -> None:
    async with (
        limited(watch_send_timeout=0.02 if evicted else 1000) as made,
        await Caller.connect(made.address, window=0) as caller,
    ):
        here = "{}:{}".format(*caller.writer.get_extra_info("sockname"))
        for _ in range(2):
            caller.begin(WATCH)
        while made.health.held < 2:
            await asyncio.sleep(0)
        assert evicted or made.health.granted_to(here) == 2
        if not evicted:
            await caller.leave()
        while made.health.granted:
            await asyncio.sleep(0)
        assert made.health.granted_to(here) == 0


async def test_what_is_known_of_a_server_that_is_gone_is_forgotten() -> None:
    async with limited() as made:
        guarded = Guarded(made, most_calls=MANY)
        gone = max(list_servers()) + MANY
        guarded.guard._pressed[gone] = 0.0
        guarded.look()
        assert not guarded.guard._pressed
        assert gone not in guarded.guard._ended


class Granted:
    """Says how many watches there are."""

    def __init__(self) -> None:
        self.granted = self.held = 0

    def granted_to(self, caller: str) -> int:
        assert caller.startswith(f"{OTHER}:")
        return 0


@pytest.mark.parametrize("too_late", [False, True])
async def test_a_crowd_of_watchers_that_comes_at_once_is_let_in(too_late: bool) -> None:
    async with limited() as made:
        watches = Granted()
        guarded = Guarded(made, watches, most_calls=3)
        async with await Caller.connect(made.address, OTHER, window=0) as waiting:
            for _ in range(200):
                waiting.begin(CHECK)
            while sum(calls_of(server).open for server in list_servers()) < 200:
                assert await made.check() == SERVING
            for granted in (60, 120):
                watches.granted = granted
                assert guarded.look() == 0, "most of what is taken up stays as a watch"
            if too_late:
                watches.granted = 180
                (pressed,) = guarded.guard._pressed
                guarded.guard._pressed[pressed] -= 15
            assert guarded.look() == 1, "but now nothing does, or it has had its time"
            await waiting.ended()


async def test_calls_that_grpc_refused_and_goes_on_counting_are_forgotten() -> None:
    async with limited(max_pending_calls=10) as made:
        guarded = Guarded(made, most_calls=20)
        codes_of_a_crowd(made.address, 100, 80)
        async with await Caller.connect(made.address) as else_:
            while await else_.check() is not None:  # as long as the line is full
                pass
        assert guarded.look() == 0
        assert sum(excused for excused, _ in guarded.guard._excused.values()) >= 80
        assert guarded.look() == 0
        assert not guarded.guard._pressed


async def test_it_looks_by_itself_until_it_is_stopped() -> None:
    async with limited() as made:
        guarded = Guarded(made, most_of_peer=1)
        callers = await connected(made, OTHER, 2)
        ends = [asyncio.create_task(caller.ended()) for caller in callers]
        guarded.guard.start(guarded.connections)
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        guarded.guard.stop()
        more = await connected(made, OTHER, 3)
        await leave([*callers, *more])
        await asyncio.wait(ends)


async def test_a_server_that_comes_while_they_are_listed_is_looked_at_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with limited() as made:
        guarded = Guarded(made, most_calls=MANY)
        listed = []

        def list_while_one_comes() -> list[int]:
            listed.append(list_servers())
            if len(listed) == 1:
                guarded.guard.renew()
            return listed[-1]

        monkeypatch.setattr(guard, "list_servers", list_while_one_comes)
        for _ in range(3):
            guarded.look()
        assert len(listed) == 2, "again after it came, and then no more"


async def test_the_memory_of_a_crowd_of_calls_is_given_back_when_it_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = threading.Event()
    monkeypatch.setattr(_memory, "trim_memory", lambda **_: given.set())
    async with limited() as made:
        guarded = Guarded(made)
        guarded.guard.start(guarded.connections)
        for _ in range(CAME):
            guarded.guard.came()
        assert await asyncio.to_thread(given.wait, 10)
        guarded.guard.stop()


async def test_all_that_come_by_a_unix_socket_are_one_peer(tmp_path: Path) -> None:
    async with limited(f"unix:{tmp_path}/it.sock") as made:
        guarded = Guarded(made, most_of_peer=2)
        old = await connected(made, "", 2)
        assert guarded.peers() == ["unix", "unix"]
        assert guarded.look() == 0
        (new,) = await connected(made, "", 1)
        assert guarded.look() == 1
        assert [await caller.is_gone() for caller in (*old, new)] == [False, False, True]
        await leave([*old, new])


@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_who_takes_no_answers_does_not_hold_up_the_end(kind: str, tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/it.sock" if kind == "unix" else "127.0.0.1:0"
    async with limited(address) as made:
        stuck = await Caller.connect(made.address, window=0)
        transport = stuck.writer.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        for _ in range(900):
            stuck.begin(CHECK)
        async with await Caller.connect(made.address) as other:
            assert await other.check() is None
        await asyncio.wait_for(made.server.stop(0.0), PATIENCE)
        transport.resume_reading()
        await stuck.ended()
        await stuck.leave()

"""Each limit answers as the README says, costs no other peer its answer, and ends with the need."""

import asyncio
import contextlib
import logging

import grpc
import grpc.aio
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import RemoteSettingsChanged, StreamReset

from petsage_grpc.core.fold import Answer
from petsage_grpc.core.status import Status
from petsage_grpc.rpc._requests import peer_of
from petsage_grpc.rpc.health import _STAY
from petsage_grpc.rpc.limits import Limit, Refusals
from tests.processes import python
from tests.rpc.conftest import SERVING
from tests.rpc.limited import OTHER, WATCH, Caller, codes_of_a_crowd, limited

PER_PEER = "RESOURCE_EXHAUSTED", "too many watchers from this address: max_watchers_per_peer = 2"
EVICTED_TOO = (
    "RESOURCE_EXHAUSTED",
    f"too many watchers from this address{_STAY}: max_watchers_per_peer = 2",
)
ALL_STAY = "RESOURCE_EXHAUSTED", f"too many watchers{_STAY}: max_watchers = 2"
UNKNOWN = "RESOURCE_EXHAUSTED", "too many unknown names are watched: max_unknown_names = 4"
TOO_LONG = "INVALID_ARGUMENT", "the name is longer than max_name_length = 8 bytes"
CALM = int(ErrorCodes.ENHANCE_YOUR_CALM).to_bytes(4, "big")
UNKNOWN_OF_PEER = (
    "RESOURCE_EXHAUSTED",
    "too many unknown names from this address: half of max_unknown_names = 4",
)


async def test_a_peer_with_too_many_watchers_is_refused_more_and_another_is_not() -> None:
    async with limited(max_watchers_per_peer=2) as made:
        one = await Caller.connect(made.address)
        async with one, await Caller.connect(made.address, OTHER) as other:
            assert [await one.watch() for _ in range(2)] == [None, None]
            assert await one.watch() == PER_PEER
            assert await one.check() is None
            assert [await other.watch() for _ in range(2)] == [None, None]
            assert await other.watch() == PER_PEER
            await other.leave()
            async with await Caller.connect(made.address, OTHER) as again:
                await made.is_watchable(again)
    assert made.refusals.counts()["max_watchers_per_peer"] >= 2


async def test_evicted_watchers_of_a_peer_that_stay_take_no_place_of_another(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with limited(max_watchers_per_peer=2, watch_send_timeout=0.02) as made:
        stuck = await Caller.connect(made.address, window=0)
        async with stuck, await Caller.connect(made.address, OTHER) as other:
            for evicted in (2, 4):
                for _ in range(2):
                    stuck.begin(WATCH)
                while made.refusals.counts().get("watch_send_timeout", 0) < evicted:
                    await asyncio.sleep(0)
            assert await stuck.watch() == EVICTED_TOO
            assert await other.watch() is None
        async with await Caller.connect(made.address) as again:
            await made.is_watchable(again)


async def test_evicted_watchers_that_stay_are_bounded_in_all_until_they_leave() -> None:
    async with (
        limited(max_watchers=2, watch_send_timeout=0.02) as made,
        await Caller.connect(made.address, "127.0.0.3") as other,
    ):
        one = await Caller.connect(made.address, window=0)
        async with one, await Caller.connect(made.address, OTHER, window=0) as two:
            for evicted, caller in ((2, one), (4, two)):
                for _ in range(2):
                    caller.begin(WATCH)
                while made.refusals.counts().get("watch_send_timeout", 0) < evicted:
                    await asyncio.sleep(0)
            assert await other.watch() == ALL_STAY
            assert await other.check() is None
        await made.is_watchable(other)
    assert made.refusals.counts()["max_watchers"] >= 1


async def test_unknown_names_are_bounded_for_a_peer_and_for_all() -> None:
    async with limited(max_unknown_names=4) as made, contextlib.AsyncExitStack() as stack:
        sources = ("127.0.0.1", OTHER, "127.0.0.3")
        one, two, three = [
            await stack.enter_async_context(await Caller.connect(made.address, source))
            for source in sources
        ]
        assert [await one.watch(name) for name in "aab"] == [None, None, None]
        assert await one.watch("c") == UNKNOWN_OF_PEER
        assert await one.watch("a") is None, "a name that it watches already is no other one"
        assert await one.watch("") is None, "a known one is none of them"
        assert [await two.watch(name) for name in "cd"] == [None, None]
        assert await three.watch("e") == UNKNOWN
        assert await three.watch("a") is None, "nor is one that somebody watches"
        assert await three.check() is None
        made.names.put("e", Answer(Status.SERVING))
        assert await three.watch("e") is None
        await two.leave()
        await made.is_watchable(three, "f")
    assert made.refusals.counts()["max_unknown_names"] >= 2


async def test_a_peer_can_not_use_up_the_names_of_another() -> None:
    async with limited(max_unknown_names=4) as made:
        one = await Caller.connect(made.address)
        async with await Caller.connect(made.address, OTHER) as other:
            assert [await one.watch(name) for name in "ab"] == [None, None]
            assert [await other.watch(name) for name in "ab"] == [None, None]
            await one.leave()
            async with await Caller.connect(made.address) as again:
                await made.is_watchable(again, "c")


async def test_a_name_too_long_is_counted() -> None:
    async with limited(max_name_length=8) as made, await Caller.connect(made.address) as caller:
        assert await caller.watch("a" * 9) == TOO_LONG
        assert await caller.check() is None
        assert made.refusals.counts() == {"max_name_length": 1}


@pytest.mark.parametrize(("name", "refused"), [("ä" * 4, False), ("ä" * 4 + "a", True)])
async def test_of_a_name_the_bytes_are_counted_and_not_the_characters(
    name: str, refused: bool
) -> None:
    async with limited(max_name_length=8) as made, await Caller.connect(made.address) as caller:
        answer = await caller.watch(name)
        assert answer == (TOO_LONG if refused else None)


async def confirm_settings(caller: Caller) -> None:
    """Read until the server has said its limits, and has heard that we know."""
    while not isinstance(await caller.next_event(), RemoteSettingsChanged):
        pass
    assert await caller.check() is None


async def test_headers_too_large_are_refused_and_the_next_call_is_answered() -> None:
    async with limited(max_header_size=4096) as made, await Caller.connect(made.address) as caller:
        await confirm_settings(caller)
        refused = await caller.check([("x-large", "b" * 5000)])
        assert refused is not None
        assert refused[0] == "RESOURCE_EXHAUSTED"
        assert await caller.check([("x-large", "b" * 3000)]) is None


async def test_headers_below_the_limit_are_never_refused_by_chance() -> None:
    async with (
        limited(max_header_size=8000) as made,
        await Caller.connect(made.address) as caller,
    ):
        await confirm_settings(caller)
        for _ in range(30):
            assert await caller.check([("x-large", "b" * 7500)]) is None


async def test_a_call_too_many_on_a_connection_is_reset_until_one_ends() -> None:
    async with (
        limited(max_concurrent_streams=2) as made,
        await Caller.connect(made.address) as caller,
    ):
        # All before the server has said how many: a client that knows keeps the third.
        streams = [caller.begin(WATCH) for _ in range(3)]
        while not isinstance(event := await caller.next_event(), StreamReset):
            pass
        assert event.stream_id == streams[2]
        assert await made.check() == SERVING
        caller.http2.reset_stream(streams[0])
        caller.flush()
        while await caller.watch() is not None:
            pass


async def test_a_connection_too_many_is_closed_until_one_leaves() -> None:
    async with limited(max_connections=2) as made:
        callers = [await Caller.connect(made.address) for _ in range(2)]
        for caller in callers:
            assert await caller.check() is None
        async with await Caller.connect(made.address) as refused:
            assert b"HTTP" not in await refused.ended()
        await callers[0].leave()
        assert await made.check() == SERVING
        await callers[1].leave()


async def test_calls_beyond_those_that_may_wait_are_refused_and_later_ones_answered() -> None:
    async with limited(max_pending_calls=3) as made:
        codes = codes_of_a_crowd(made.address, calls=50, answers=40)
        assert set(codes) == {str(grpc.StatusCode.CANCELLED.value[0])}
        async with await Caller.connect(made.address) as later:
            while await later.check() is not None:  # as long as the line is full
                pass


async def test_a_connection_without_a_call_is_closed_and_one_with_a_watcher_is_not() -> None:
    async with (
        limited(max_connection_idle=0.05) as made,
        await Caller.connect(made.address) as watcher,
        await Caller.connect(made.address) as idle,
    ):
        assert await watcher.watch() is None
        assert b"connection idle" in await idle.ended()
        assert await watcher.check() is None


async def test_a_connection_that_says_nothing_is_closed() -> None:
    async with limited(handshake_timeout=0.05) as made:
        host, _, port = made.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        assert b"timeout" in await reader.read(-1)
        writer.close()
        assert await made.check() == SERVING


async def test_a_client_that_never_confirms_the_settings_is_sent_away() -> None:
    async with limited(handshake_timeout=0.05) as made:
        host, _, port = made.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        http2 = H2Connection(H2Configuration(client_side=True))
        http2.initiate_connection()
        writer.write(http2.data_to_send())
        assert b"settings_timeout" in await reader.read(-1)
        writer.close()


@pytest.mark.parametrize("watches", [False, True])
async def test_a_flood_of_pings_is_sent_away(watches: bool) -> None:
    async with (
        limited(min_ping_interval=1000) as made,
        await Caller.connect(made.address) as caller,
    ):
        if watches:
            assert await caller.watch() is None
        for _ in range(4):
            caller.http2.ping(b"12345678")
        caller.flush()
        assert CALM + b"too_many_pings" in await caller.ended()
        assert await made.check() == SERVING


async def test_a_client_that_pings_between_its_calls_is_welcome() -> None:
    async with (
        limited(min_ping_interval=1000) as made,
        await Caller.connect(made.address) as caller,
    ):
        for _ in range(10):
            await caller.ping()
            assert await caller.check() is None


async def test_a_client_that_pings_as_seldom_as_it_must_is_welcome_without_a_call() -> None:
    async with (
        limited(min_ping_interval=0.001) as made,
        await Caller.connect(made.address) as caller,
    ):
        for _ in range(10):
            await caller.ping()
            now = asyncio.get_running_loop().time
            next_one = now() + 0.002
            while now() < next_one:
                await asyncio.sleep(0)
        assert await caller.check() is None


class Called:
    """A call of which only matters who calls."""

    def __init__(self, address: str) -> None:
        self.address = address

    def peer(self) -> str:
        return self.address


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        ("ipv4:10.0.0.7:1234", "10.0.0.7"),
        ("ipv6:%5B::1%5D:43054", "::1"),
        ("ipv6:[::1]:43054", "::1"),
        ("ipv6:%5Bfe80::1%25eth0%5D:43054", "fe80::1"),
        ("unix:", "unix"),
        ("unix:/run/petsage.sock", "unix"),
        ("", ""),
    ],
)
def test_a_peer_is_its_address_without_the_port(address: str, peer: str) -> None:
    assert peer_of(Called(address)) == peer  # type: ignore[arg-type]


def test_a_limit_is_told_at_once_and_then_once_a_minute_with_what_came_meanwhile(
    caplog: pytest.LogCaptureFixture,
) -> None:
    times = iter([0.0, 1.0, 59.9, 60.0, 61.0, 61.0])
    refusals = Refusals(lambda: next(times))
    limit, other = Limit("max_watchers", 5), Limit("max_name_length", 9)
    for number in (1, 1000, 234, 1, 1):
        refusals.note(limit, "10.0.0.7", "watchers", number=number)
    refusals.note(other, "10.0.0.8", "names")
    with caplog.at_level(logging.WARNING):
        assert [record.getMessage() for record in caplog.records] == [
            "refused 1 watchers, the last of 10.0.0.7: max_watchers = 5",
            "refused 1,235 watchers, the last of 10.0.0.7: max_watchers = 5",
            "refused 1 names, the last of 10.0.0.8: max_name_length = 9",
        ]
    assert refusals.counts() == {"max_watchers": 1237, "max_name_length": 1}


def test_more_connections_than_grpc_can_count_end_nothing() -> None:
    ended = python(
        "from petsage_grpc import HealthPlane\n"
        "given = {'listen': '127.0.0.1:0', 'checks': {}, 'max_connections': 3_000_000_000}\n"
        "with HealthPlane.from_settings(**given) as plane:\n"
        "    print(plane.address)\n"
    )
    assert (ended.returncode, ended.stdout.count(":")) == (0, 1), ended.stderr

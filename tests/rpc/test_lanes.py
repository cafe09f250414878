"""The calls of one address do not wait in the line of another."""

import asyncio
import contextlib
import ipaddress
import logging
import socket
from collections import Counter
from pathlib import Path

import pytest

from petsage_grpc.errors import BindError
from petsage_grpc.rpc import _lanes
from petsage_grpc.rpc._channelz import calls_of, list_servers, traffic_of
from petsage_grpc.rpc._grpc_log import keep_callers_out_of_the_log
from petsage_grpc.rpc._lanes import LANES, SPARES, steer
from petsage_grpc.settings import Settings
from tests.hostile.attacks import attack
from tests.hostile.raw import ATTACKER, Field, wrong_path
from tests.processes import PATIENCE
from tests.rpc.conftest import SERVING
from tests.rpc.limited import CHECK, Caller, Limited, limited

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="only Linux lets connections be steered"
)
PEERS = [f"127.0.0.{number}" for number in range(1, 41)]
CALLS = 400
TOLD = (
    "a peer sent a path that is not UTF-8: its server had to begin again, and others' calls ended"
)


def lanes_of(made: Limited) -> dict[str, set[int]]:
    """Say which servers of grpc each address has met."""
    lanes: dict[str, set[int]] = {}
    port = int(made.address.rpartition(":")[2])
    for server in list_servers():
        for traffic in traffic_of(server):
            if traffic.port == port:
                lanes.setdefault(traffic.peer, set()).add(server)
    return lanes


async def test_all_connections_of_an_address_meet_one_server_and_addresses_differ() -> None:
    async with limited() as made, contextlib.AsyncExitStack() as stack:
        for peer in 3 * PEERS:
            caller = await stack.enter_async_context(await Caller.connect(made.address, peer))
            assert await caller.check() is None
        lanes = lanes_of(made)
        assert {peer: len(met) for peer, met in lanes.items()} == dict.fromkeys(PEERS, 1)
        used = Counter(server for (server,) in lanes.values())
        assert len(used) > LANES / 2
        assert max(used.values()) < len(PEERS) / 2


@pytest.mark.parametrize("step", ["127.0.0.{}", "127.0.{}.1", "127.{}.0.1"])
def test_neighbours_do_not_share_a_few_servers(step: str) -> None:
    neighbours = [step.format(number) for number in range(1, 41)]
    for _ in range(50):
        with contextlib.ExitStack() as stack:
            listeners = [stack.enter_context(socket.socket()) for _ in range(LANES)]
            port = 0
            for listener in listeners:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                listener.setblocking(False)
                listener.bind(("127.0.0.1", port))
                listener.listen(len(neighbours))
                port = listener.getsockname()[1]
            assert steer([listener.fileno() for listener in listeners])
            for peer in neighbours:
                caller = stack.enter_context(socket.socket())
                caller.bind((peer, 0))
                caller.connect(("127.0.0.1", port))
            used = [count for listener in listeners if (count := _count_accepted(listener))]
            assert sum(used) == len(neighbours)
            assert len(used) > LANES / 2
            assert max(used) < len(neighbours) / 2


def _count_accepted(listener: socket.socket) -> int:
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            listener.accept()[0].close()
            count += 1
    return count


async def test_ipv6_addresses_are_steered_too() -> None:
    async with limited("[::1]:0") as made, contextlib.AsyncExitStack() as stack:
        for _ in range(20):
            caller = await stack.enter_async_context(await Caller.connect(made.address, "::1"))
            assert await caller.check() is None
        assert {peer: len(met) for peer, met in lanes_of(made).items()} == {"::1": 1}


async def test_a_check_is_answered_before_the_flood_of_another_address_that_came_first() -> None:
    async with limited() as made, contextlib.AsyncExitStack() as stack:
        flood, asker = [
            await stack.enter_async_context(await Caller.connect(made.address, peer))
            for peer in await two_lanes(made)
        ]
        before = made.server._guard._came
        for _ in range(CALLS):
            flood.begin(CHECK)
        assert await asker.check() is None
        assert made.server._guard._came - before < CALLS / 2


async def two_lanes(made: Limited) -> tuple[str, str]:
    """Find two addresses that meet different servers."""
    async with contextlib.AsyncExitStack() as stack:
        for peer in PEERS:
            caller = await stack.enter_async_context(await Caller.connect(made.address, peer))
            assert await caller.check() is None
        met = {peer: server for peer, (server,) in lanes_of(made).items()}
    return PEERS[0], next(peer for peer in PEERS if met[peer] != met[PEERS[0]])


async def test_of_two_that_would_share_a_port_the_second_is_refused() -> None:
    async with limited() as made:
        for _ in range(20):
            with pytest.raises(BindError, match="is taken"):
                Limited(Settings(), made.address)
        sharing = socket.socket()
        with sharing:
            sharing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            host, _, port = made.address.rpartition(":")
            with pytest.raises(OSError, match="in use"):
                sharing.bind((host, int(port)))


@pytest.mark.parametrize("lacking", ["share", "steer"])
async def test_where_the_system_can_not_do_it_calls_are_answered_as_ever(
    lacking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    option = {"share": socket.SO_REUSEPORT, "steer": _lanes._SO_ATTACH_REUSEPORT_CBPF}[lacking]
    real = _lanes._set

    def lacks_it(descriptor: int, what: int, value: bytes) -> bool:
        return what != option and real(descriptor, what, value)

    monkeypatch.setattr(_lanes, "_set", lacks_it)
    async with limited() as made:
        assert len(made.server._lanes) == (1 if lacking == "share" else LANES + SPARES)
        for _ in range(10):
            assert await made.check() == SERVING


async def test_a_server_that_stops_gives_its_port_back_on_every_lane() -> None:
    async with limited() as made:
        assert await made.check() == SERVING
    with socket.socket() as again:
        host, _, port = made.address.rpartition(":")
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind((host, int(port)))


@pytest.mark.parametrize("alone", [False, True])
async def test_a_path_that_is_not_utf_8_ends_no_port(
    alone: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if alone:
        monkeypatch.setattr(_lanes, "_set", lambda *_: False)
    keep_callers_out_of_the_log()
    async with limited() as made:
        listeners = made.server._connections.listeners
        before = len(listeners())
        made.server._guard._servers = [0]  # it has looked for them, and knows these
        assert await asyncio.to_thread(attack, "wrong-paths", made.address, 1.0) > 2
        while len(listeners()) < before:
            await asyncio.sleep(0)
        assert await made.check() == SERVING
        assert made.server._guard._servers is None, "the new server's calls are limited too"
    told = {record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING}
    assert told <= {TOLD}
    assert not any(record.exc_info for record in caplog.records)


async def test_who_ends_a_server_again_and_again_ends_no_calls_of_other_lines() -> None:
    keep_callers_out_of_the_log()
    async with limited() as made, contextlib.AsyncExitStack() as stack:
        callers = {
            peer: await stack.enter_async_context(await Caller.connect(made.address, peer))
            for peer in (*PEERS, ATTACKER)
        }
        for caller in callers.values():
            assert await caller.check() is None
        before = lanes_of(made)
        beside = {peer for peer, met in before.items() if met == before[ATTACKER]}
        assert await asyncio.to_thread(attack, "wrong-paths", made.address, 3.0) > 5
        assert {peer for peer, caller in callers.items() if await caller.is_gone()} == beside
        for peer in set(PEERS) - beside:
            async with await Caller.connect(made.address, peer) as again:
                assert await again.check() is None
        after = lanes_of(made)
        assert {peer for peer in PEERS if after.get(peer) == before[peer]} == set(PEERS) - beside


async def test_who_ends_servers_and_stays_takes_the_port_from_nobody() -> None:
    keep_callers_out_of_the_log()
    async with limited() as made, contextlib.AsyncExitStack() as stack:
        for peer in (*PEERS, ATTACKER):
            caller = await stack.enter_async_context(await Caller.connect(made.address, peer))
            assert await caller.check() is None
        met = lanes_of(made)
        other = next(peer for peer in PEERS if met[peer] != met[ATTACKER])
        listeners = made.server._connections.listeners
        before = len(listeners())
        done = asyncio.create_task(
            asyncio.to_thread(attack, "stay-after-a-wrong-path", made.address, 3.0)
        )
        while not done.done():
            async with await Caller.connect(made.address, other) as caller:
                assert await caller.check() is None
        assert await done > LANES + SPARES
        while len(listeners()) < before:
            await asyncio.sleep(0)


async def test_a_lane_that_ends_by_an_error_while_it_is_stopped_holds_up_nothing() -> None:
    keep_callers_out_of_the_log()
    async with limited() as made:
        ours, field = set(list_servers()), Field(made.address, PATIENCE)
        peer = field.dial()
        peer.begin()
        peer.call(wrong_path())
        while not any(calls_of(server).open for server in ours):  # the event loop stands still
            peer.drain()
        await made.server.stop(0.0)
        assert made.server._connections.listeners() == []
        field.leave()


async def test_a_lane_that_can_not_be_bound_again_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keep_callers_out_of_the_log()
    monkeypatch.setattr("petsage_grpc.rpc.server._BINDS_AGAIN", 1000.0)
    tried = asyncio.Event()

    def taken(*_: object, **__: object) -> None:
        tried.set()
        raise BindError("taken")

    async with limited() as made:
        monkeypatch.setattr(made.server, "_bind_again", taken)
        assert await asyncio.to_thread(attack, "wrong-paths", made.address, 0.1) > 0
        await asyncio.wait_for(tried.wait(), PATIENCE)
        await asyncio.wait_for(made.server.stop(0.0), PATIENCE)


async def test_a_healthy_lane_is_not_replaced() -> None:
    async with limited() as made:
        one = made.server._lanes[3]
        await one.stop(None)
        await asyncio.sleep(0)
        assert not made.server._replacing
        assert made.server._lanes[3] is one


def lane_by(program: list[_lanes._Instruction], address: str) -> int:
    """Say which lane the filter's arithmetic gives an address, as the kernel works it out."""
    packed = ipaddress.ip_address(address).packed
    words = [int.from_bytes(packed[at : at + 4], "big") for at in range(0, len(packed), 4)]
    factors = [value for code, _, _, value in program if code == _lanes._TIMES]
    *factors, second, third = factors
    factors = factors[:1] if len(words) == 1 else factors[1:]
    (addend,) = [value for code, _, _, value in program if code == _lanes._ADD]
    total = sum(word * factor for word, factor in zip(words, factors, strict=True)) + addend
    total %= 2**32
    for factor in (second, third):
        total = (total ^ total >> 16) * factor % 2**32
    return total >> (33 - LANES.bit_length())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("10.0.0.1", "10.0.0.0"),
        ("10.0.0.1", "10.0.0.145"),
        ("10.0.0.1", "138.0.0.1"),
        ("2001:db8:1::10", "2001:db8:bad:cafe::bac:caee"),
        ("2001:db8::1", "2001:db8::2"),
    ],
)
def test_nobody_can_choose_to_share_the_line_of_another(one: str, other: str) -> None:
    programs = [_lanes._program() for _ in range(2000)]
    shared = sum(lane_by(program, one) == lane_by(program, other) for program in programs)
    assert shared < 1.5 * len(programs) / LANES

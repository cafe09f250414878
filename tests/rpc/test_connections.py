"""One peer can not take the connections of another, and nothing else is touched for that."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from petsage_grpc.rpc.connections import ConnectionGuard, _Connection
from petsage_grpc.rpc.limits import Refusals
from petsage_grpc.settings import Settings
from tests.rpc.conftest import SERVING
from tests.rpc.limited import OTHER, Caller, Limited, limited

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="only /proc tells which connections there are"
)


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
        refusals = Refusals()
        settings = Settings(max_connections_per_peer=3)
        guard = ConnectionGuard([made.address], settings.max_connections_per_peer, refusals)
        old, others = await connected(made, OTHER, 3), await connected(made, "127.0.0.1", 3)
        assert guard.look() == 0
        new = await connected(made, OTHER, 2)
        assert guard.look() == 2
        for caller in new:
            await caller.ended()
        for caller in (*old, *others):
            assert await caller.check() is None
        assert refusals.counts() == {"max_connections_per_peer": 2}

        await leave(old)
        while guard._find(os_descriptors()).keys() & {c for c in guard._known if c.peer == OTHER}:
            assert await others[0].check() is None
        again = await connected(made, OTHER, 3)
        assert guard.look() == 0, "it may have as many again"
        await leave([*again, *new, *others])


def os_descriptors() -> list[int]:
    return [int(name.name) for name in Path("/proc/self/fd").iterdir()]


async def test_a_check_from_elsewhere_gets_through_while_one_peer_holds_thousands() -> None:
    async with limited(max_connections=1500) as made:
        guard = ConnectionGuard([made.address], 100)
        host, _, port = made.address.rpartition(":")
        with contextlib.ExitStack() as stack:
            guard.start()
            stack.callback(guard.stop)
            for _ in range(2000):
                held = stack.enter_context(socket.socket())
                held.bind((OTHER, 0))
                held.connect((host, int(port)))
            assert await made.check() == SERVING


async def test_it_looks_by_itself_until_it_is_stopped() -> None:
    async with limited() as made:
        guard = ConnectionGuard([made.address], 1)
        callers = await connected(made, OTHER, 2)
        ends = [asyncio.create_task(caller.ended()) for caller in callers]
        guard.start()
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        guard.stop()
        more = await connected(made, OTHER, 3)
        await leave([*callers, *more])
        await asyncio.wait(ends)


async def test_connections_to_others_and_of_others_are_left_alone() -> None:
    async with limited() as made:
        guard = ConnectionGuard([made.address], 1)
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            pairs = [socket.create_connection(listener.getsockname()) for _ in range(5)]
            accepted = [listener.accept()[0] for _ in range(5)]
            for end in (*pairs, *accepted):
                stack.enter_context(end)
            assert guard.look() == 0
            for end in accepted:
                end.sendall(b"x")
            assert {end.recv(1) for end in pairs} == {b"x"}


@pytest.mark.parametrize("kind", ["file", "socket"])
def test_a_number_that_has_become_something_else_is_left_alone(kind: str, tmp_path: Path) -> None:
    guard = ConnectionGuard(["127.0.0.1:50051"], 1)
    one, two = socket.socketpair()
    with one, two, (tmp_path / "file").open("wb") as file:
        number = file.fileno() if kind == "file" else one.fileno()
        gone = _Connection("127.0.0.1", 50051, OTHER, 12345)
        before = len(os_descriptors())
        assert not guard._close(number, gone)
        kept = guard._kept
        assert len(kept) == (1 if kind == "file" else 0), "to close it would release its locks"
        assert len(os_descriptors()) == before + len(kept)
        two.sendall(b"x")
        assert one.recv(1) == b"x"
        for descriptor in kept:
            os.close(descriptor)


def test_the_timeout_that_sockets_have_by_default_changes_nobody_elses() -> None:
    guard = ConnectionGuard(["127.0.0.1:50051"], 1)
    one, two = socket.socketpair()
    with one, two:
        socket.setdefaulttimeout(5.0)
        try:
            guard._find([one.fileno()])
        finally:
            socket.setdefaulttimeout(None)
        assert os.get_blocking(one.fileno())


async def test_a_server_that_any_address_reaches_is_guarded_with_ipv4_and_ipv6() -> None:
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), listener.accept()[0] as accepted:
            for address in (f"[::]:{port}", f"0.0.0.0:{port}", f"127.0.0.1:{port}"):
                (found,) = ConnectionGuard([address], 1)._find([accepted.fileno()])
                assert found.peer == "127.0.0.1"
            elsewhere = ConnectionGuard([f"127.0.0.9:{port}"], 1)
            assert elsewhere._find([accepted.fileno()]) == {}


def test_a_unix_socket_needs_no_guard() -> None:
    guard = ConnectionGuard(["unix:/run/petsage.sock"], 1)
    guard.start()
    assert guard._thread is None
    guard.stop()


RAISE = """
import logging, resource
from petsage_grpc.rpc.connections import raise_file_limit
logging.basicConfig(format="%(message)s")
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
raise_file_limit({wanted})
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "then", "warned"),
    [
        (256, 2000, 1000, 1256, False),
        (256, 1200, 1000, 1200, True),
        (1500, 2000, 1000, 1500, False),
    ],
)
def test_as_many_files_may_be_open_as_connections_need(
    soft: int, hard: int, wanted: int, then: int, warned: bool
) -> None:
    code = RAISE.format(soft=soft, hard=hard, wanted=wanted)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(ran.stdout) == then
    assert bool(ran.stderr) == warned
    assert not warned or "max_connections = 1000 do not fit into 1200 open files" in ran.stderr

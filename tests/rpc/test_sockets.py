"""Connections are found among the descriptors of a process, and nothing else is touched."""

import contextlib
import errno
import os
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from petsage_grpc.rpc._sockets import Connection, Connections, count_descriptors, list_descriptors
from tests.rpc.limited import OTHER, limited

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="only /proc tells which connections there are"
)


async def test_connections_to_others_and_of_others_are_left_alone() -> None:
    async with limited() as made:
        connections = Connections([made.address])
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            pairs = [socket.create_connection(listener.getsockname()) for _ in range(5)]
            accepted = [listener.accept()[0] for _ in range(5)]
            for end in (*pairs, *accepted):
                stack.enter_context(end)
            assert connections.find(list_descriptors()) == {}
            for end in accepted:
                end.sendall(b"x")
            assert {end.recv(1) for end in pairs} == {b"x"}


def test_descriptors_are_counted() -> None:
    before = count_descriptors()
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(socket.socket())
        assert count_descriptors() == before + 20


def test_descriptors_are_counted_one_by_one_where_linux_does_not_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Untold(type(Path())):  # type: ignore[misc]
        def stat(self, **_: bool) -> SimpleNamespace:
            return SimpleNamespace(st_size=0)

    monkeypatch.setattr("petsage_grpc.rpc._sockets._DESCRIPTORS", Untold("/proc/self/fd"))
    assert count_descriptors() == len(list_descriptors())


@pytest.mark.parametrize("kind", ["file", "socket"])
def test_a_number_that_has_become_something_else_is_left_alone(kind: str, tmp_path: Path) -> None:
    connections = Connections(["127.0.0.1:50051"])
    one, two = socket.socketpair()
    with one, two, (tmp_path / "file").open("wb") as file:
        number = file.fileno() if kind == "file" else one.fileno()
        gone = Connection("127.0.0.1", 50051, OTHER, 12345)
        before = len(list_descriptors())
        assert not connections.close(number, gone)
        kept = connections._kept
        assert len(kept) == (1 if kind == "file" else 0), "to close it would release its locks"
        assert len(list_descriptors()) == before + len(kept)
        two.sendall(b"x")
        assert one.recv(1) == b"x"
        for descriptor in kept:
            os.close(descriptor)


def test_the_timeout_that_sockets_have_by_default_changes_nobody_elses() -> None:
    connections = Connections(["127.0.0.1:50051"])
    one, two = socket.socketpair()
    with one, two:
        socket.setdefaulttimeout(5.0)
        try:
            connections.find([one.fileno()])
        finally:
            socket.setdefaulttimeout(None)
        assert os.get_blocking(one.fileno())


async def test_a_server_that_any_address_reaches_is_guarded_with_ipv4_and_ipv6() -> None:
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), listener.accept()[0] as accepted:
            for address in (f"[::]:{port}", f"0.0.0.0:{port}", f"127.0.0.1:{port}"):
                (found,) = Connections([address]).find([accepted.fileno()])
                assert found.peer == "127.0.0.1"
            elsewhere = Connections([f"127.0.0.9:{port}"])
            assert elsewhere.find([accepted.fileno()]) == {}


def test_those_of_a_unix_socket_are_told_apart_by_their_numbers(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(path := str(tmp_path / "it.sock"))
        listener.listen()
        connections = Connections([f"unix:{path}"])
        assert connections.listeners() == [], "there is nothing to share"
        peers = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(2)]
        for peer in peers:
            peer.connect(path)
        ours = [stack.enter_context(listener.accept()[0]) for _ in peers]
        found = connections.find(list_descriptors())
        assert sorted(found.values()) == sorted(end.fileno() for end in ours)
        assert len({connection.peer_port for connection in found}) == 2
        second = next(one for one, number in found.items() if number == ours[1].fileno())
        assert connections.close(ours[1].fileno(), second)
        assert peers[1].recv(1) == b""
        ours[0].sendall(b"x")
        assert peers[0].recv(1) == b"x"


def test_when_no_more_can_be_opened_connections_are_found_and_ended_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def too_many(_: object) -> list[str]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        with socket.create_connection((host, port)) as peer, listener.accept()[0]:
            connections = Connections([f"{host}:{port}"])
            monkeypatch.setattr("petsage_grpc.rpc._sockets.os.listdir", too_many)
            monkeypatch.setattr("petsage_grpc.rpc._sockets._LIBC.fcntl", lambda *_: -1)
            found = connections.find(list_descriptors())
            (connection,) = [one for one in found if one.peer_port == peer.getsockname()[1]]
            assert connections.close(found[connection], connection)
            assert peer.recv(1) == b""

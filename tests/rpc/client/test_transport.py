"""A connection that ends, breaks the rules or says nothing in an RPC gives it a status."""

import socket

import pytest
from h2.connection import H2Connection

from petsage_grpc.rpc.client import RpcError
from tests.rpc.client.conftest import SHORT, TIMEOUT, call, connect
from tests.rpc.client.raw_servers import GOAWAY, drain, http2, message, raw_server, replying, saying


def test_a_goaway_that_leaves_the_rpc_out_is_unavailable() -> None:
    def go_away(server: H2Connection, _: int, __: socket.socket) -> None:
        server.close_connection(0, b"too old", last_stream_id=0)

    with pytest.raises(RpcError) as caught:
        call(http2(go_away))

    assert str(caught.value) == "UNAVAILABLE: the server is going away (GOAWAY NO_ERROR: too old)"


def test_a_server_that_goes_away_may_still_answer_what_it_has() -> None:
    def drain_and_answer(server: H2Connection, stream: int, connection: socket.socket) -> None:
        connection.sendall(GOAWAY + b"\x7f\xff\xff\xff\0\0\0\0bye")
        replying(body=message(b"last words"))(server, stream, connection)

    with raw_server(http2(drain_and_answer)) as address, connect(address) as connection:
        assert connection.call("/a/b", b"", TIMEOUT) == b"last words"
        with pytest.raises(RpcError) as caught:
            connection.call("/a/b", b"", TIMEOUT)

    assert caught.value.details == "the server is going away (GOAWAY NO_ERROR: bye)"


@pytest.mark.parametrize(
    ("last", "name", "details"),
    [
        pytest.param(b"", "UNAVAILABLE", "the connection ended too early: the server closed it",
                     id="closes"),
        pytest.param(GOAWAY + b"\x7f\xff\xff\xff\0\0\0\x99bye", "UNAVAILABLE",
                     "too early: the server is going away (GOAWAY error 153: bye)",
                     id="says GOAWAY and closes"),
        pytest.param(b"\xff" * 100, "INTERNAL", "breaks the rules of HTTP/2: a frame of",
                     id="long frame"),
        pytest.param(b"\0\0\4\1\4\0\0\0\1\xff\xff\xff\xff", "INTERNAL",
                     "breaks the rules of HTTP/2", id="broken headers"),
        pytest.param(b"\0\0\0\x09\0\0\0\0\1", "INTERNAL", "breaks the rules of HTTP/2",
                     id="frame out of turn"),
    ],
)  # fmt: skip
def test_a_connection_that_ends_in_the_rpc_has_a_status(
    last: bytes, name: str, details: str
) -> None:
    def end(_: H2Connection, __: int, connection: socket.socket) -> None:
        connection.sendall(last)
        drain(connection)

    with pytest.raises(RpcError) as caught:
        call(http2(end))

    assert (caught.value.name, details in caught.value.details) == (name, True)


def test_a_server_that_never_answers_an_rpc_is_given_up() -> None:
    with pytest.raises(RpcError) as caught:
        call(http2(lambda *_: None), SHORT)

    assert str(caught.value) == "DEADLINE_EXCEEDED: no answer within 0.2s"


def test_a_server_that_admits_no_streams_is_unavailable() -> None:
    no_streams = b"\0\0\6\4\0\0\0\0\0\0\3\0\0\0\0"
    with pytest.raises(RpcError) as caught:
        call(saying(no_streams))

    assert str(caught.value) == "UNAVAILABLE: the server admits no RPC on this connection"

"""No connection comes about to nothing, to silence and to what is no gRPC, and why is said."""

import contextlib
import socket

import pytest

from petsage_grpc.rpc.client import parse_address
from tests.rpc.client.conftest import SHORT, TIMEOUT, connect, refusal
from tests.rpc.client.raw_servers import GOAWAY, address_of, listening, raw_server, saying


def test_a_closed_port_refuses_at_once() -> None:
    with listening() as listener:
        address = address_of(listener)

    error = refusal(address)

    assert (error.reason, error.address, error.timed_out) == ("connection refused", address, False)


def test_a_missing_unix_socket_is_said() -> None:
    assert refusal("unix:/nowhere/at-all").reason == "no such file or directory"


def test_a_unix_path_that_no_socket_can_have_is_said() -> None:
    assert refusal("unix:/" + "a" * 200).reason == "AF_UNIX path too long"


def answer_look_up(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    places = [(parse_address(address).host, parse_address(address).port) for address in addresses]
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


def test_every_address_of_a_host_is_tried_in_turn(
    monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    with raw_server(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as web, listening() as silent:
        answer_look_up(monkeypatch, "127.0.0.1:1", web, address_of(silent), server)

        with connect("many:1", 4 * SHORT) as connection:
            assert connection.call("/echo/same", b"x", TIMEOUT) == b"x"


def test_when_every_address_fails_each_reason_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as silent:
        answer_look_up(monkeypatch, "127.0.0.1:1", "127.0.0.2:1", address_of(silent))

        error = refusal("many:1", SHORT)

    assert error.timed_out
    assert error.reason == (
        "connection refused (127.0.0.1);"
        " the server accepted the connection but never answered (127.0.0.1)"
    )


def test_a_host_that_drops_packets_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as s:
        # once the queue is full the kernel drops what asks for more
        with pytest.raises(TimeoutError):  # noqa: PT012 -- it takes as many as the kernel admits
            while True:
                filler = s.enter_context(socket.socket())
                filler.settimeout(SHORT)
                filler.connect(listener.getsockname())

        error = refusal(address_of(listener), SHORT)

    assert (error.reason, error.timed_out) == ("the host does not answer", True)


def test_a_listener_that_never_answers_times_out() -> None:
    with listening() as listener:
        error = refusal(address_of(listener), SHORT)

    assert error.timed_out
    assert error.reason == "the server accepted the connection but never answered"


NOT_GRPC = {
    "HTTP/1.1": (b"HTTP/1.1 400 Bad Request\r\n\r\n", "speaks HTTP/1.1, not gRPC"),
    "HTTP/1.1 byte by byte": (b"H", "speaks HTTP/1.1, not gRPC"),
    "HTTP/0.9": (b"<!DOCTYPE HTML>\n", "speaks HTTP/1.1, not gRPC"),
    "TLS alert": (b"\x15\x03\x01\0\2\2\x46", "speaks TLS; add -tls"),
    "TLS handshake": (b"\x16\x03\x01", "speaks TLS; add -tls"),
    "SSH": (b"SSH-2.0-OpenSSH_9.2\r\n", 'does not speak gRPC; it answered "SSH-2.0-OpenSSH_9.2'),
    "binary": (b"\xff\x00\xfe", 'it answered "\\xff\x00\\xfe"'),
    "a frame that is not SETTINGS": (b"\0\0\4\0\0\0\0\0\1abcd", "does not speak gRPC"),
    "SETTINGS of a wrong size": (b"\0\0\1\4\0\0\0\0\0x", "broken HTTP/2"),
    "SETTINGS longer than allowed": (b"\0\x7f\xff\4\0\0\0\0\0", "broken HTTP/2"),
    "GOAWAY at once": (GOAWAY + b"\0\0\0\0\0\0\0\x0bbye", "(GOAWAY ENHANCE_YOUR_CALM: bye)"),
    "half a frame": (b"\0\0", "closed the connection at once"),
    "nothing": (b"", "closed the connection at once"),
}


@pytest.mark.parametrize(("words", "reason"), NOT_GRPC.values(), ids=NOT_GRPC.keys())
def test_what_is_no_grpc_is_told_at_once(words: bytes, reason: str) -> None:
    with raw_server(saying(words)) as address:
        error = refusal(address)

    assert reason in error.reason
    assert not error.timed_out


def test_a_server_that_resets_the_connection_is_said() -> None:
    def reset(connection: socket.socket) -> None:
        # closing with unread bytes makes the kernel send RST
        connection.recv(1)

    with raw_server(reset) as address:
        assert refusal(address).reason == "the server closed the connection at once"

"""Calls to real servers, what they send, and what importing the client costs."""

import subprocess
import sys
from pathlib import Path

import pytest

from petsage_grpc import __version__
from petsage_grpc.rpc import client
from petsage_grpc.rpc.client import Connection, RpcError, Tls, parse_address
from tests.rpc.client.conftest import SHORT, TIMEOUT, Certificates, connect, grpc_server
from tests.rpc.client.raw_servers import Echo, http2, message, raw_server, replying


def test_a_call_answers_and_the_connection_takes_more(server: str) -> None:
    with connect(server) as connection:
        assert connection.call("/echo/same", b"one", TIMEOUT) == b"one"
        assert connection.call("/echo/same", b"", TIMEOUT) == b""


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_request_and_an_answer_of_nearly_four_mebibytes_pass(server: str, packed: bool) -> None:
    message = bytes(client.MAX_MESSAGE - 100)
    with connect(server) as connection:
        answer = connection.call("/echo/same", message, TIMEOUT, gzip=packed)

    assert answer == message


def test_the_server_sees_what_was_asked_for(server: str, echo: Echo) -> None:
    with Connection.connect(parse_address(server), TIMEOUT, user_agent="tests/1") as connection:
        headers = [("X-Token", "a: b "), ("x-token", "c"), ("raw-bin", "\x00é")]
        connection.call("/echo/same", b"asked", TIMEOUT, headers, gzip=True)

    assert echo.request == b"asked"
    assert echo.metadata["user-agent"] == "tests/1"
    assert echo.metadata["x-token"] == "c"
    assert echo.metadata["raw-bin"] == "\x00é".encode()


@pytest.mark.parametrize(
    ("packed", "timeout", "written"),
    [(False, 1.5, "1500000u"), (True, 100.0, "100000m"), (False, 1e9, "86400000m")],
    ids=["plain", "gzip", "long"],
)
def test_a_request_has_the_headers_that_grpc_demands(
    packed: bool, timeout: float, written: str
) -> None:
    seen: list[dict[str, str]] = []
    handle = http2(replying(body=message(b"")), seen)
    with raw_server(handle) as address, connect(address) as connection:
        connection.call("/a/b", b"", timeout, gzip=packed)

    assert seen == [
        {
            ":method": "POST",
            ":scheme": "http",
            ":path": "/a/b",
            ":authority": address,
            "grpc-timeout": written,
            "te": "trailers",
            "content-type": "application/grpc",
            "user-agent": f"petsage-grpc/{__version__}",
            "grpc-accept-encoding": "identity,gzip",
        }
        | ({"grpc-encoding": "gzip"} if packed else {})
    ]


def test_a_request_over_tls_calls_the_server_by_the_name_given(certificates: Certificates) -> None:
    seen: list[dict[str, str]] = []
    handle = http2(replying(body=message(b"")), seen)
    tls = Tls(ca_cert=certificates.ca, server_name="server.example")
    with (
        raw_server(handle, certificates.openssl()) as address,
        connect(address, tls=tls) as connection,
    ):
        connection.call("/a/b", b"", TIMEOUT)

    assert (seen[0][":scheme"], seen[0][":authority"]) == ("https", "server.example")


def test_a_user_agent_that_can_not_be_sent_is_refused() -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        Connection.connect(parse_address("127.0.0.1:1"), TIMEOUT, user_agent="a\r\nb")


def test_a_status_comes_with_its_name_and_its_words(server: str) -> None:
    with connect(server) as connection, pytest.raises(RpcError) as caught:
        connection.call("/echo/refuse", "50% müde\n".encode(), TIMEOUT)

    assert (caught.value.code, caught.value.name) == (9, "FAILED_PRECONDITION")
    assert caught.value.details == "50% müde\n"
    assert str(caught.value) == "FAILED_PRECONDITION: 50% müde\n"


def test_a_method_that_the_server_lacks_is_unimplemented(server: str) -> None:
    with connect(server) as connection, pytest.raises(RpcError) as caught:
        connection.call("/echo/nothing", b"", TIMEOUT)

    assert caught.value.name == "UNIMPLEMENTED"


def test_an_answer_that_is_too_long_is_refused_and_the_connection_lives_on(server: str) -> None:
    with connect(server) as connection:
        with pytest.raises(RpcError) as caught:
            connection.call("/echo/long", str(client.MAX_MESSAGE + 1).encode(), TIMEOUT)
        assert connection.call("/echo/same", b"after", TIMEOUT) == b"after"

    assert caught.value.name == "RESOURCE_EXHAUSTED"


def test_an_answer_that_is_late_is_given_up_and_the_server_is_told(server: str, echo: Echo) -> None:
    with connect(server) as connection:
        with pytest.raises(RpcError) as caught:
            connection.call("/echo/hang", b"", SHORT)
        assert echo.hanging.wait(TIMEOUT)
        assert connection.call("/echo/same", b"after", TIMEOUT) == b"after"

    assert caught.value.name == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("seconds", [1e9, float("inf")], ids=["decades", "for ever"])
def test_a_very_long_timeout_is_cut_to_what_sockets_take(server: str, seconds: float) -> None:
    with connect(server, seconds) as connection:
        assert connection.call("/echo/same", b"x", seconds) == b"x"


@pytest.mark.parametrize("form", ["unix:{}", "unix://{}"])
def test_a_unix_socket_is_reached(echo: Echo, tmp_path: Path, form: str) -> None:
    path = tmp_path / "socket"
    with grpc_server(echo, place=f"unix:{path}"), connect(form.format(path)) as connection:
        assert connection.call("/echo/same", b"x", TIMEOUT) == b"x"


def test_an_ipv6_address_is_reached(echo: Echo) -> None:
    with grpc_server(echo, place="[::1]:0") as address, connect(address) as connection:
        assert connection.call("/echo/same", b"x", TIMEOUT) == b"x"


def test_the_client_imports_neither_grpc_nor_protobuf_nor_asyncio_nor_tls() -> None:
    costly = ["grpc", "google.protobuf", "asyncio", "ssl", "argparse", "encodings.idna"]
    program = (
        "import sys; from petsage_grpc.rpc.client import Connection, parse_address\n"
        "try: Connection.connect(parse_address('127.0.0.1:1'), 1)\n"
        f"except Exception: print([name for name in {costly} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )

    assert (done.stdout, done.stderr) == ("[]\n", "")

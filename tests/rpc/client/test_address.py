"""Addresses are read or refused, and the look-up of a host fails in words and on time."""

import socket
import threading

import pytest

from petsage_grpc.rpc.client import Address, AddressError, parse_address
from tests.rpc.client.conftest import SHORT, TIMEOUT, refusal


@pytest.mark.parametrize(
    ("text", "host", "port", "path", "authority"),
    [
        pytest.param("db:1", "db", 1, "", "db:1", id="name"),
        pytest.param("10.0.0.1:65535", "10.0.0.1", 65535, "", "10.0.0.1:65535", id="IPv4"),
        pytest.param("[::1]:50051", "::1", 50051, "", "[::1]:50051", id="IPv6"),
        pytest.param("[fe80::1%eth0]:5", "fe80::1%eth0", 5, "", "[fe80::1]:5", id="IPv6 zone"),
        pytest.param(":50051", "localhost", 50051, "", "localhost:50051", id="no host"),
        pytest.param("dns:///db:1", "db", 1, "", "db:1", id="dns"),
        pytest.param("passthrough:///db:1", "db", 1, "", "db:1", id="passthrough"),
        pytest.param("bücher.example:1", "xn--bcher-kva.example", 1, "",
                     "xn--bcher-kva.example:1", id="international name"),
        pytest.param("unix:/run/a b", "localhost", 0, "/run/a b", "localhost", id="unix"),
        pytest.param("unix:run/a", "localhost", 0, "run/a", "localhost", id="unix relative"),
        pytest.param("unix:///run/a", "localhost", 0, "/run/a", "localhost", id="unix as a URL"),
    ],
)  # fmt: skip
def test_an_address_is_read(text: str, host: str, port: int, path: str, authority: str) -> None:
    address = parse_address(text)

    assert address == Address(text, host, port, path)
    assert address.authority == authority


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the port is missing"),
        ("localhost", "the port is missing"),
        ("[::1]", "the port is missing"),
        ("::1:50051", "brackets"),
        ("[::1:50051", "brackets"),
        ("localhost:", '"" is no port'),
        ("localhost:0", '"0" is no port'),
        ("localhost:65536", "from 1 to 65535"),
        ("localhost:99999999999999999999", "from 1 to 65535"),
        ("localhost:-1", "is no port"),
        ("localhost:00000165536", "is no port"),
        ("localhost:http", "is no port"),
        ("localhost:\N{ARABIC-INDIC DIGIT ONE}", "is no port"),
        ("http://localhost:1", 'leave out "http://"'),
        ("dns://8.8.8.8/db:1", 'leave out "dns://"'),
        ("localhost:1/path", "nothing else"),
        ("local host:1", "nothing else"),
        ("local\nhost:1", "nothing else"),
        ("ü..ü:1", "no valid name"),
        ("unix:", "unix:PATH"),
        ("unix://run/a", "absolute"),
    ],
)
def test_a_wrong_address_is_refused_with_the_mend(text: str, reason: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_address(text)

    assert reason in caught.value.reason
    assert caught.value.address == text


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (socket.EAI_NONAME, 'unknown host "db"'),
        (socket.EAI_AGAIN, 'unknown host "db" (no name server answers)'),
    ],
    ids=["no such name", "no name server"],
)
def test_an_unknown_host_is_said(monkeypatch: pytest.MonkeyPatch, code: int, reason: str) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(code, "words of the system")

    monkeypatch.setattr(socket, "getaddrinfo", fail)

    error = refusal("db:1")

    assert (error.reason, error.timed_out) == (reason, False)


def test_a_look_up_that_hangs_does_not_outlast_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    real = socket.getaddrinfo

    def hang(host: bytes, port: int, **options: int) -> object:
        if not options["flags"]:
            over.wait(TIMEOUT)
        return real(host, port, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        error = refusal("slow.invalid:1", SHORT)
    finally:
        over.set()
        for thread in threading.enumerate():
            if thread.name == "look-up":
                thread.join()

    assert error.timed_out
    assert error.reason == 'the look-up of host "slow.invalid" got no answer'


def test_a_password_that_is_no_part_of_an_address_is_not_repeated() -> None:
    with pytest.raises(AddressError) as caught:
        parse_address("cat:hunter2hunter2@host:1")
    assert "hunter2" not in str(caught.value)
    assert '"***@host:1" is no address' in str(caught.value)

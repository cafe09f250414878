"""Addresses are read as people write them, and a name is good if one of its addresses is."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from petsage_grpc.checks import _dial
from petsage_grpc.checks._dial import Address, parse_address
from petsage_grpc.checks.tcp import TcpCheck
from tests import faults
from tests.checks.conftest import PATIENCE, TlsFiles, failure_of, nothing_leaks, passes, timeout_of

EXAMPLE = 'write it like "ledger:5000", "[::1]:5000" or "unix:/run/ledger.sock"'

Resolve = Callable[..., list[tuple[int, int, int, str, tuple[str, int]]]]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ledger:5000", Address("ledger:5000", "ledger", 5000)),
        ("127.0.0.1:1", Address("127.0.0.1:1", "127.0.0.1", 1)),
        ("[::1]:65535", Address("[::1]:65535", "::1", 65535)),
        ("[fe80::1%eth0]:5000", Address("[fe80::1%eth0]:5000", "fe80::1%eth0", 5000)),
        ("bücher.example:5", Address("bücher.example:5", "xn--bcher-kva.example", 5)),
        ("a_b.c:5", Address("a_b.c:5", "a_b.c", 5)),
        ("unix:/run/a b", Address("unix:/run/a b", "localhost", path="/run/a b")),
        ("unix:///run/x", Address("unix:/run/x", "localhost", path="/run/x")),
        ("unix:x@y", Address("unix:x@y", "localhost", path="x@y")),
    ],
)
def test_an_address_is_read(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' has no port from 1 to 65535"),
        ("ledger", "'ledger' has no port from 1 to 65535"),
        ("ledger:", "'ledger:' has no port from 1 to 65535"),
        ("ledger:http", "'ledger:http' has no port from 1 to 65535"),
        ("ledger:0", "'ledger:0' has no port from 1 to 65535"),
        ("ledger:65536", "'ledger:65536' has no port from 1 to 65535"),
        ("ledger:٣", "'ledger:٣' has no port from 1 to 65535"),
        ("ledger:-1", "'ledger:-1' has no port from 1 to 65535"),
        (":5000", "':5000' is no host and port"),
        ("::1:5000", "'::1:5000' is no host and port"),
        ("[::1", "'[::1' is no host and port"),
        ("[ledger]:1", "'[ledger]:1' is no host and port"),
        ("a b:1", "'a b:1' is no host and port"),
        ("a%b:1", "'a%b:1' is no host and port"),
        ("a\x7f:1", "'a\\x7f:1' is no host and port"),
        ("a..b:1", "'a..b:1' is no host and port"),
        (f"{'a' * 64}:1", f"'{'a' * 64}:1' is no host and port"),
        ("user:password@ledger:5000", "it is a URL or the like"),
        ("tcp://ledger:5000", "it is a URL or the like"),
        ("ledger:5000/", "it is a URL or the like"),
        ("unix:", "'unix:' names no socket"),
        ("unix://", "'unix://' names no socket"),
        ("unix:a\0b", "'unix:a\\x00b' names no socket"),
    ],
)
def test_what_is_no_address_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        parse_address(text)
    assert str(refused.value) == f"{said}: {EXAMPLE}"


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Resolve], None]]:
    """Let a resolver of ours answer for names, in place of that of the machine."""
    real = socket.getaddrinfo

    def use(resolver: Resolve) -> None:
        def ask(host: str, port: int, *, flags: int = 0, **options: int) -> object:
            if flags & socket.AI_NUMERICHOST:
                return real(host, port, flags=flags, **options)
            return resolver(host, port)

        monkeypatch.setattr(socket, "getaddrinfo", ask)

    return use  # type: ignore[return-value]


def found(*hosts: str) -> Resolve:
    def resolver(_: str, port: int) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in hosts]

    return resolver


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    with socket.create_server((host, port)) as listener:
        yield listener


async def test_the_next_address_is_tried_when_one_refuses(
    resolve: Callable[[Resolve], None],
) -> None:
    with faults.refused() as port, listening("127.0.0.2", port):
        resolve(found("127.0.0.1", "127.0.0.2"))
        await passes(TcpCheck(address=f"ledger:{port}"))
        resolve(found("127.0.0.2", "127.0.0.1"))
        await passes(TcpCheck(address=f"ledger:{port}"))


async def test_the_next_address_is_tried_beside_one_that_is_a_black_hole(
    resolve: Callable[[Resolve], None],
) -> None:
    with faults.black_hole() as port, listening("127.0.0.2", port):
        resolve(found("127.0.0.1", "127.0.0.2"))
        await passes(TcpCheck(address=f"ledger:{port}"))
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_of_two_connections_that_come_at_once_one_is_closed(
    resolve: Callable[[Resolve], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, arrived, both = _dial._connect, [0], asyncio.Event()

    async def arrive(family: socket.AddressFamily, place: Any) -> socket.socket:
        connected = await connect(family, place)
        arrived[0] += 1
        if arrived[0] == 2:
            both.set()
        await both.wait()
        return connected

    monkeypatch.setattr(_dial, "_connect", arrive)
    with faults.refused() as port, listening("127.0.0.2", port), listening("127.0.0.3", port):
        resolve(found("127.0.0.2", "127.0.0.3"))
        with nothing_leaks():
            await passes(TcpCheck(address=f"ledger:{port}"))
    assert arrived == [2]


async def test_the_dot_that_ends_a_name_is_not_in_the_certificate(
    resolve: Callable[[Resolve], None], tls_files: TlsFiles
) -> None:
    resolve(found("127.0.0.1"))
    with faults.speaking(tls=faults.server_tls(tls_files.ca.parent)) as port:
        address = f"localhost.:{port}"
        await passes(TcpCheck(address=address, tls=True, tls_ca_cert=str(tls_files.ca)))


async def test_an_address_without_a_route_is_not_what_is_told(
    resolve: Callable[[Resolve], None],
) -> None:
    with faults.refused() as port:
        for hosts in (("255.255.255.255", "127.0.0.1"), ("127.0.0.1", "255.255.255.255")):
            resolve(found(*hosts))
            said = await failure_of(TcpCheck(address=f"ledger:{port}"))
            assert said == (
                f"ledger:{port} refuses connections: start what should listen there, or correct the"
                " address"
            )


async def test_all_attempts_end_with_the_run(resolve: Callable[[Resolve], None]) -> None:
    with faults.black_hole() as port:
        resolve(found("127.0.0.1", "127.0.0.1", "127.0.0.1"))
        assert await timeout_of(TcpCheck(address=f"ledger:{port}"), 0.4) == (
            f"connecting to ledger:{port}"
        )
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_name_that_nobody_knows_is_named(resolve: Callable[[Resolve], None]) -> None:
    def unknown(host: str, _: int) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    resolve(unknown)
    assert await failure_of(TcpCheck(address="ledger:5000")) == (
        "no DNS server knows ledger: correct the name, or add it there"
    )


async def test_a_name_that_can_not_be_resolved_here_is_named() -> None:
    said = await failure_of(TcpCheck(address=f"{faults.UNRESOLVABLE}:5000"))
    assert faults.UNRESOLVABLE in said
    assert "DNS server" in said


async def test_dns_servers_that_do_not_answer_are_named(
    resolve: Callable[[Resolve], None],
) -> None:
    def dead(host: str, _: int) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    resolve(dead)
    assert await failure_of(TcpCheck(address="ledger:5000")) == (
        "no DNS server answers for ledger: see whether those of this machine work"
    )

    def broken(host: str, _: int) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        raise socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure in name resolution")

    resolve(broken)
    assert await failure_of(TcpCheck(address="ledger:5000")) == (
        "ledger can not be looked up: Non-recoverable failure in name resolution"
    )


async def test_a_resolver_that_hangs_is_named_and_holds_one_run(
    resolve: Callable[[Resolve], None],
) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def hang(host: str, _: int) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        asked.set()
        go_on.wait(PATIENCE)
        return []

    resolve(hang)
    check = TcpCheck(address="ledger:5000")
    run = asyncio.ensure_future(check.run())
    await asyncio.to_thread(asked.wait, PATIENCE)
    run.cancel()
    done, _ = await asyncio.wait({run}, timeout=0.05)
    assert not done, "the monitor must see that it hangs"
    assert check.doing == "looking up ledger"
    go_on.set()
    await asyncio.wait({run}, timeout=PATIENCE)
    assert run.cancelled()


async def test_a_port_that_connects_to_itself_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    port = faults.free_port()

    class Bound(socket.socket):
        """A socket that has, by chance, the port that it is to connect to."""

        def connect(self, address: object) -> None:
            with contextlib.suppress(OSError):
                self.bind((faults.HOST, port))
            super().connect(address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "socket", Bound)
    said = await failure_of(TcpCheck(address=f"{faults.HOST}:{port}"))
    assert said.startswith(f"127.0.0.1:{port} refuses connections")

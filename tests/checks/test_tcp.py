"""The TCP check connects to real servers, says what it expects of them, and names their faults."""

import asyncio
import logging
import socket
from pathlib import Path
from typing import Any

import pytest

from petsage_grpc.checks.tcp import TcpCheck
from tests import faults
from tests.checks.conftest import (
    Site,
    failure_of,
    nothing_leaks,
    passes,
    serving,
    timeout_of,
)

TOKEN = "hunter2-hunter2"
EXAMPLE = 'write it like "ledger:5000", "[::1]:5000" or "unix:/run/ledger.sock"'


async def answer_ping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speak a little protocol: a greeting, and an answer to each line, byte by byte."""
    writer.write(b"220 ready\r\n")
    async for line in reader:
        for byte in b"+PONG\r\n" if line == b"PING\r\n" else b"-ERR " + line:
            writer.write(bytes([byte]))
            await writer.drain()


async def test_a_server_that_listens_passes(site: Site) -> None:
    check = TcpCheck(address=f"localhost:{site.plain}")
    await passes(check)
    with nothing_leaks():
        await passes(check)
    await passes(TcpCheck(address=f"{faults.HOST}:{site.plain}"))


async def test_a_name_that_nobody_knows_fails() -> None:
    said = await failure_of(TcpCheck(address=f"{faults.UNRESOLVABLE}:80"))
    assert faults.UNRESOLVABLE in said
    assert "DNS server" in said


async def test_what_is_sent_is_shown_neither_in_part_nor_cut() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        writer.write(
            b"-ERR no " + line.split()[1] + b" in " + b"x" * 40 + line * 2 + b"\n" * 20_000
        )
        await writer.drain()

    send = f"AUTH {TOKEN} {'more' * 30}\n"
    async with serving(echo) as port:
        address = f"{faults.HOST}:{port}"
        said = await failure_of(TcpCheck(address=address, send=send, expect="+OK"))
    assert "(what is sent)" in said
    assert TOKEN[:5] not in said


async def test_a_server_that_listens_on_ipv6_passes() -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("there is no IPv6 here")
    with listener:
        port = listener.getsockname()[1]
        await passes(TcpCheck(address=f"[::1]:{port}"))
    assert f"[::1]:{port} refuses connections" in await failure_of(
        TcpCheck(address=f"[::1]:{port}")
    )


async def test_a_unix_socket_passes_until_its_server_is_dead(site: Site) -> None:
    check = TcpCheck(address=f"unix:{site.socket}")
    await passes(check)
    with site.nginx.killed():
        assert await failure_of(check) == (
            f"there is no unix:{site.socket}: start what should listen there, or correct the path"
        )
    await passes(check)


async def test_a_unix_socket_without_a_server_refuses(tmp_path: Path) -> None:
    path = tmp_path / "left behind"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    check = TcpCheck(address=f"unix:{path}")
    assert (await failure_of(check)).startswith(f"unix:{path} refuses connections: start")
    path.unlink()
    path.touch()
    assert (await failure_of(check)).startswith(f"unix:{path} refuses connections: start")


async def test_a_unix_socket_with_a_full_queue_fails(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as filler:
        listener.bind(path)
        listener.listen(0)
        filler.connect(path)
        with nothing_leaks():
            assert await failure_of(TcpCheck(address=f"unix:{path}")) == (
                f"unix:{path} takes no connection: its queue is full, see what it is busy with"
            )


async def test_a_path_that_is_too_long_for_a_socket_fails() -> None:
    check = TcpCheck(address=f"unix:/{'a' * 200}")
    assert (await failure_of(check)).endswith("can not be reached: AF_UNIX path too long")


async def test_a_server_that_is_killed_fails_until_it_lives_again(site: Site) -> None:
    check = TcpCheck(address=f"localhost:{site.plain}")
    await passes(check)
    with site.nginx.killed(), nothing_leaks():
        assert await failure_of(check) == (
            f"localhost:{site.plain} refuses connections: start what should listen there, or"
            " correct the address"
        )
    await passes(check)


async def test_a_server_that_is_stopped_is_told_by_what_it_does_not_say(site: Site) -> None:
    address = f"localhost:{site.plain}"
    connects = TcpCheck(address=address)
    talks = TcpCheck(address=address, send="GET / HTTP/1.0\r\n\r\n", expect="200 OK")
    await passes(talks)
    with site.nginx.frozen(), nothing_leaks():
        await passes(connects)
        assert await timeout_of(talks) == f"waiting for {address} to say '200 OK'"
    await passes(talks)


async def test_a_black_hole_is_waited_for() -> None:
    with faults.black_hole() as port:
        check = TcpCheck(address=f"{faults.HOST}:{port}")
        with nothing_leaks():
            assert await timeout_of(check) == f"connecting to 127.0.0.1:{port}"


async def test_what_is_expected_is_found_in_a_greeting_or_in_an_answer() -> None:
    async with serving(answer_ping) as port:
        address = f"localhost:{port}"
        await passes(TcpCheck(address=address, expect="220 "))
        check = TcpCheck(address=address, send="PING\r\n", expect="+PONG")
        await passes(check)
        await passes(check)


async def test_what_is_said_instead_is_shown() -> None:
    with faults.speaking(b"554 no thanks\r\n") as port:
        check = TcpCheck(address=f"localhost:{port}", expect="220 ")
        assert await failure_of(check) == (
            f"localhost:{port} said '554 no thanks\\r\\n', not '220 ': see what listens there,"
            " or correct expect"
        )


async def test_garbage_is_shown_so_that_it_can_be_read() -> None:
    with faults.speaking() as port:
        said = await failure_of(TcpCheck(address=f"localhost:{port}", expect="220 "))
    assert "\\\\xff" in said
    assert len(said) < 250


async def test_a_server_that_hangs_up_without_a_word_fails_where_one_is_expected() -> None:
    with faults.speaking(b"") as port:
        await passes(TcpCheck(address=f"localhost:{port}"))
        check = TcpCheck(address=f"localhost:{port}", expect="220 ")
        assert await failure_of(check) == (
            f"localhost:{port} closed the connection without a word: look into its log"
        )


async def test_a_server_that_never_ends_is_not_read_for_ever() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"a" * 1000)
            await writer.drain()

    async with serving(talk) as port:
        said = await failure_of(TcpCheck(address=f"localhost:{port}", expect="b"))
        assert said.startswith(f"localhost:{port} said 'aaaaaaaa")


async def test_a_server_that_resets_the_connection_is_named() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        linger = b"\1\0\0\0\0\0\0\0"
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    async with serving(reset) as port:
        check = TcpCheck(address=f"localhost:{port}", send="PING\r\n", expect="PONG")
        assert await failure_of(check) == (
            f"localhost:{port} broke the connection off: look into its log"
        )


async def test_what_is_sent_is_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(answer_ping) as port:
        check = TcpCheck(address=f"localhost:{port}", send=f"AUTH {TOKEN}\r\n", expect="+OK")
        # the server says it back, which the monitor hides
        assert await timeout_of(check) == f"waiting for localhost:{port} to say '+OK'"
    with faults.speaking(f"-ERR AUTH {TOKEN}\r\n".encode()) as port:
        check = TcpCheck(address=f"localhost:{port}", send=f"AUTH {TOKEN}\r\n", expect="+OK")
        with pytest.raises(Exception, match="not '\\+OK'") as failed:
            await check.run()
    assert TOKEN not in check.redact(str(failed.value))
    assert TOKEN not in repr(check)
    assert TOKEN not in caplog.text


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"address": "ledger"}, f"address: 'ledger' has no port from 1 to 65535: {EXAMPLE}"),
        ({"address": "ledger:0"}, f"address: 'ledger:0' has no port from 1 to 65535: {EXAMPLE}"),
        (
            {"address": f"tcp://user:{TOKEN}@ledger:1"},
            f"address: it is a URL or the like: {EXAMPLE}",
        ),
        (
            {"send": "PING\r\n"},
            'send: needs expect: set what the answer must hold, like "PONG"',
        ),
        ({"tls_no_verify": True}, "tls_no_verify: means nothing without TLS: set tls = true"),
        (
            {"tls": True, "tls_client_key": "/key.pem"},
            "tls_client_key: needs tls_client_cert too: set both",
        ),
    ],
)
def test_settings_that_can_never_work_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=r"^\w+: .") as refused:
        TcpCheck(**{"address": "ledger:5000", **settings})
    assert str(refused.value) == said

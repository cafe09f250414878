"""Servers that are dead, stopped, out of reach or no servers of HTTP: each is named."""

import asyncio
import logging

import pytest

from petsage_grpc.checks.http import HttpCheck
from petsage_grpc.core.units import Size
from tests import faults
from tests.checks.conftest import (
    Handler,
    Site,
    failure_of,
    nothing_leaks,
    passes,
    serving,
    timeout_of,
)
from tests.checks.http.conftest import TOKEN

LOG = "look into its log"
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def answering(*parts: bytes) -> Handler:
    """Make a handler that sends these parts and hangs up."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for part in parts:
            writer.write(part)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    return handle


def endless(head: bytes, part: bytes, pause: float = 0.0) -> Handler:
    """Make a handler that sends a part over and over."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        while True:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)

    return handle


async def test_a_server_that_is_killed_fails_until_it_lives_again(site: Site) -> None:
    check = HttpCheck(url=f"http://localhost:{site.plain}/")
    await passes(check)
    with site.nginx.killed():
        assert await failure_of(check) == (
            f"localhost:{site.plain} refuses connections: start what should listen there, or"
            " correct the address"
        )
    await passes(check)


async def test_a_socket_that_is_gone_fails_until_it_is_there_again(site: Site) -> None:
    check = HttpCheck(url="http://ledger/", unix_socket=str(site.socket))
    await passes(check)
    with site.nginx.killed():
        assert await failure_of(check) == (
            f"there is no unix:{site.socket}: start what should listen there, or correct the path"
        )
    await passes(check)


async def test_a_server_that_is_stopped_is_waited_for_until_it_goes_on(site: Site) -> None:
    check = HttpCheck(url=f"http://localhost:{site.plain}/")
    await passes(check)
    with site.nginx.frozen(), nothing_leaks():
        assert await timeout_of(check) == f"waiting for localhost:{site.plain} to answer"
    await passes(check)


async def test_a_port_without_a_server_refuses() -> None:
    with faults.refused() as port:
        check = HttpCheck(url=f"http://{faults.HOST}:{port}/")
        with nothing_leaks():
            assert (await failure_of(check)).startswith(f"127.0.0.1:{port} refuses connections")


async def test_a_black_hole_is_waited_for() -> None:
    with faults.black_hole() as port:
        check = HttpCheck(url=f"http://{faults.HOST}:{port}/")
        with nothing_leaks():
            assert await timeout_of(check) == f"connecting to 127.0.0.1:{port}"


async def test_a_name_that_nobody_knows_is_named() -> None:
    check = HttpCheck(url=f"https://{faults.UNRESOLVABLE}/")
    assert faults.UNRESOLVABLE in await failure_of(check)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            faults.GARBAGE,
            "does not speak HTTP/1.1: see what listens there, or correct the port in url",
        ),
        (
            b"SSH-2.0-OpenSSH_9.2\r\n",
            "does not speak HTTP/1.1: see what listens there, or correct the port in url",
        ),
        (b"", f"closed the connection without an answer: {LOG}"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "speaks TLS: write https:// in url"),
        (OK + b"Content-Length: 10\r\n\r\nshort", f"broke its answer off: {LOG}"),
        (CHUNKED + b"5\r\nhel", f"broke its answer off: {LOG}"),
        (CHUNKED + b"no size\r\n", f"broke its answer off: {LOG}"),
        (OK + b"X: y", f"answers with a head that breaks the rules of HTTP: {LOG}"),
        (b"HTTP/1.1 ok\r\n\r\n", f"answers with a head that breaks the rules of HTTP: {LOG}"),
        (
            b"HTTP/1.1 101 Switching\r\n\r\n",
            f"answers with a head that breaks the rules of HTTP: {LOG}",
        ),
        (
            OK + b"X: " + b"y" * 100_000,
            f"answers with a head that breaks the rules of HTTP: {LOG}",
        ),
    ],
)
async def test_what_is_no_whole_answer_is_named(words: bytes, said: str) -> None:
    async with serving(answering(words)) as port:
        check = HttpCheck(url=f"http://localhost:{port}/")
        assert await failure_of(check) == f"localhost:{port} {said}"


async def test_a_server_that_resets_the_connection_is_named() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.get_extra_info("socket").setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER: reset
        writer.transport.abort()

    async with serving(handle) as port:
        check = HttpCheck(url=f"http://localhost:{port}/")
        assert await failure_of(check) == f"localhost:{port} broke the connection off: {LOG}"


@pytest.mark.parametrize(
    "words",
    [
        OK + b"Content-Length: 4\r\n\r\nwell",
        CHUNKED + b"2\r\nwe\r\n2\r\nll\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nwell",
        b"HTTP/1.1 200\r\n\r\nwell",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        + OK
        + b"\r\nwell",
        OK + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nwell",
        OK + b"Content-Type: text/plain; charset=nonsense\r\n\r\n\xff well",
        OK + b"Set-Cookie: \xff=;;\r\nLocation: http://[zz]/\r\n\r\nwell",
    ],
)
async def test_odd_but_whole_answers_pass(words: bytes) -> None:
    async with serving(answering(words)) as port:
        await passes(HttpCheck(url=f"http://localhost:{port}/", body_contains="well"))


async def test_a_body_without_end_passes_once_enough_of_it_is_read() -> None:
    async with serving(endless(CHUNKED, b"1000\r\n" + b"a" * 4096 + b"\r\n")) as port:
        await passes(HttpCheck(url=f"http://localhost:{port}/", body_contains="aaa"))


async def test_a_body_without_end_fails_without_what_it_must_hold() -> None:
    async with serving(endless(OK + b"\r\n", b"a" * 65536)) as port:
        check = HttpCheck(url=f"http://localhost:{port}/", body_contains="b", max_body=Size(1000))
        assert await failure_of(check) == (
            f"localhost:{port} answered without 'b' in its first 1000 bytes (max_body): see what it"
            " says now, or correct body_contains"
        )


async def test_no_more_of_a_body_is_read_than_is_set() -> None:
    async with serving(endless(OK + b"\r\n", b"a", pause=60)) as port:
        await passes(HttpCheck(url=f"http://localhost:{port}/", max_body=Size(0)))


async def test_a_head_that_drips_is_waited_for_and_given_up() -> None:
    async with serving(endless(OK + b"X: ", b"y", pause=0.01)) as port:
        check = HttpCheck(url=f"http://localhost:{port}/")
        assert await timeout_of(check) == f"waiting for localhost:{port} to answer"


async def test_a_head_without_end_is_not_read_for_ever() -> None:
    sent = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(OK + b"X: ")
        while True:
            writer.write(b"y" * 10_000)
            await writer.drain()
            sent += 10_000

    async with serving(talk) as port:
        said = await failure_of(HttpCheck(url=f"http://localhost:{port}/"))
    assert said == (f"localhost:{port} answers with a head that breaks the rules of HTTP: {LOG}")
    assert sent < 10_000_000, "what the kernel holds for us is all that is more than the limit"


async def test_a_body_that_drips_is_waited_for_and_given_up() -> None:
    async with serving(endless(OK + b"\r\n", b"y", pause=0.01)) as port:
        check = HttpCheck(url=f"http://localhost:{port}/")
        assert await timeout_of(check) == f"reading the answer of localhost:{port}"


async def test_a_flood_of_interim_answers_can_be_given_up() -> None:
    async with serving(endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100)) as port:
        check = HttpCheck(url=f"http://localhost:{port}/")
        assert await timeout_of(check) == f"waiting for localhost:{port} to answer"


async def test_no_secret_is_shown_when_anything_fails(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    headers = {"X-Token": TOKEN, "Authorization": f"Bearer {TOKEN}"}
    with faults.refused() as refused, faults.speaking() as garbage:
        for place in (
            f"localhost:{site.plain}/code/500", f"localhost:{site.plain}/moved",
            f"localhost:{site.plain}/echo", f"localhost:{refused}/", f"localhost:{garbage}/",
            f"{faults.UNRESOLVABLE}/",
        ):  # fmt: skip
            check = HttpCheck(
                url=f"http://{place}?token={TOKEN}", headers=headers, body_contains="absent"
            )
            assert TOKEN not in await failure_of(check)
            assert TOKEN not in repr(check)
            check = HttpCheck(url=f"http://user:{TOKEN}@{place}", body_contains="absent")
            assert TOKEN not in await failure_of(check)
            assert TOKEN not in check.redact(f"asking {check.url} as user:{TOKEN} with {headers}")
    assert TOKEN not in caplog.text

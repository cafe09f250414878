"""The faults of networks and servers: each is told from the others, and over when it is over."""

import asyncio
import socket
import time
from pathlib import Path

import pytest
from h2.connection import H2Connection

from petsage_grpc.core.check import CheckFailedError
from tests import faults
from tests.checks.grpc.conftest import (
    Downstream,
    Heard,
    MakeCheck,
    Stock,
    answering,
    failure,
    leftovers,
    timed_out,
)
from tests.processes import PATIENCE
from tests.rpc.client.raw_servers import Answer, message, replying

HTTP_1 = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"


async def test_a_refused_connection_is_told_at_once(make: MakeCheck) -> None:
    with faults.refused() as port:
        check = make(port)
        said = f"127.0.0.1:{port} refuses connections: start the server, or mend the address"
        assert await failure(check) == said
        assert await failure(check) == said


async def test_a_black_hole_is_what_a_run_waits_for(make: MakeCheck) -> None:
    with faults.black_hole() as port:
        assert await timed_out(make(port)) == f"connecting to 127.0.0.1:{port}"


async def test_a_server_that_never_says_a_word_is_what_a_run_waits_for(make: MakeCheck) -> None:
    with faults.silent() as port:
        check = make(port)
        assert await timed_out(check) == f"connecting to 127.0.0.1:{port}"
        assert await timed_out(check) == f"connecting to 127.0.0.1:{port}"


async def test_a_name_that_can_not_be_resolved_is_told(make: MakeCheck) -> None:
    said = await failure(make(f"{faults.UNRESOLVABLE}:5000"))
    assert said.startswith(f"{faults.UNRESOLVABLE}:5000 can not be found (")
    assert said.endswith("): mend the address, or the name server")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (faults.GARBAGE, "does not speak gRPC: name the port of a gRPC server"),
        (HTTP_1, "speaks HTTP/1, not gRPC: name the port of a gRPC server"),
        (b"", "closed the connection before it said anything: set tls = true if it speaks TLS"),
    ],
)
async def test_what_is_no_grpc_is_told(make: MakeCheck, words: bytes, said: str) -> None:
    with faults.speaking(words) as port:
        assert await failure(make(port)) == f"127.0.0.1:{port} {said}"


def hang_up(_: H2Connection, __: int, connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_RDWR)


def cancel(server: H2Connection, stream: int, _: socket.socket) -> None:
    server.reset_stream(stream, 8)


def reset(server: H2Connection, stream: int, _: object) -> None:
    server.reset_stream(stream, 2)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            replying(headers=[(":status", "404")], trailers=()),
            "answers with HTTP status 404, not gRPC: name a gRPC server's port",
        ),
        (
            replying(headers=[(":status", "503")], trailers=()),
            "answers with HTTP status 503, not gRPC: name a gRPC server's port",
        ),
        (
            replying(headers=[(":status", "200"), ("content-type", "text/html")], trailers=()),
            "answers without a gRPC status: name the port of a gRPC server",
        ),
        (
            replying(trailers=[("x", "y")]),
            "answers without a gRPC status: name the port of a gRPC server",
        ),
        (
            replying(trailers=[("grpc-status", "14"), ("grpc-message", "no healthy upstream")]),
            "answers with UNAVAILABLE: no healthy upstream",
        ),
        (replying(), "answers with what is no HealthCheckResponse: is it the right port?"),
        (
            replying(body=b"<html>"),
            "answers with what is no HealthCheckResponse: is it the right port?",
        ),
        (reset, "answers with INTERNAL: "),
    ],
)
async def test_an_answer_that_is_none_of_a_health_service_is_told(
    make: MakeCheck, answer: Answer, said: str
) -> None:
    async with answering(answer) as address:
        check = make(address)
        assert (await failure(check)).startswith(f"{address} {said}")
        await check.close()


async def test_a_connection_that_breaks_while_it_is_new_is_a_failure(make: MakeCheck) -> None:
    async with answering(hang_up) as address:
        check = make(address)
        assert await failure(check) == (
            f"{address} closed the connection while it was asked: look there for the cause"
        )
        await check.close()


async def test_an_error_that_is_kept_keeps_no_connection(make: MakeCheck) -> None:
    async with answering(replying(headers=[(":status", "404")], trailers=())) as address:
        check = make(address)
        with pytest.raises(CheckFailedError) as failed:
            await check.run()
        await check.close()
        started = time.monotonic()
    assert time.monotonic() - started < 5, "the server waits for the end of the connection"
    assert "404" in str(failed.value)


async def test_the_authority_of_the_settings_is_sent(make: MakeCheck) -> None:
    seen: list[dict[str, str]] = []
    async with answering(replying(), seen) as address:
        check = make(address, authority="orders.example:8080", watch=False)
        await failure(check)
        await check.close()
    assert [headers[":authority"] for headers in seen] == ["orders.example:8080"]


async def test_a_missing_unix_socket_is_told(make: MakeCheck, tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/health.sock"
    check = make(address)
    assert await failure(check) == (
        f"{address} does not exist: start the server, or mend the address"
    )
    async with Downstream().serving(address):
        await check.run()


async def test_no_proxy_of_the_environment_is_asked(
    make: MakeCheck, stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with faults.refused() as port:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        await make(stock.address).run()


async def test_the_run_after_a_killed_server_is_back_passes(make: MakeCheck, stock: Stock) -> None:
    check = make(stock.address)
    await check.run()
    stock.kill()
    for _ in range(5):  # grpc alone would wait longer from time to time before it connects again
        assert "refuses connections" in await failure(check)
    stock.revive()
    await check.run()


async def test_no_run_waits_for_a_connection_that_is_stuck(make: MakeCheck) -> None:
    async with Downstream().serving() as downstream:
        check = make(downstream.address)
        await check.run()
        await downstream.watched()
    place = (faults.HOST, int(downstream.address.rpartition(":")[2]))
    with socket.create_server(place) as silent:
        stuck, _ = await asyncio.to_thread(silent.accept)  # the Watch has connected again
    with stuck:
        async with downstream.serving(downstream.address):
            await asyncio.wait_for(check.run(), 1)


async def test_a_server_that_is_restarted_between_two_runs_costs_no_failure(
    make: MakeCheck, stock: Stock
) -> None:
    check = make(stock.address)
    await check.run()
    stock.kill()
    stock.revive()
    await check.run()


@pytest.mark.parametrize("leave", [hang_up, cancel])
async def test_a_connection_that_breaks_while_it_is_asked_again_is_renewed(
    make: MakeCheck, leave: Answer
) -> None:
    answered = 0

    def answer(server: H2Connection, stream: int, connection: socket.socket) -> None:
        nonlocal answered
        answered += 1
        serving = replying(body=message(b"\x08\x01"))
        (leave if answered == 2 else serving)(server, stream, connection)

    async with answering(answer) as address:
        check = make(address, watch=False)
        await check.run()
        await check.run()
        await check.run()
        await check.close()
    assert answered == 4


async def test_a_server_that_is_stopped_is_found_out_though_its_stream_is_open(
    make: MakeCheck, stock: Stock
) -> None:
    check, heard = make(stock.address), Heard()
    check.run_soon = heard
    await check.run()
    with faults.stopped(stock.process):
        assert await timed_out(check) == f"waiting for {stock.address} to answer"
        assert await timed_out(check) == f"connecting to {stock.address}"
    await check.run()
    await check.run()


async def test_a_run_that_is_cancelled_leaves_nothing_behind(make: MakeCheck, stock: Stock) -> None:
    def descriptors() -> int:
        return len([*Path("/proc/self/fd").iterdir()])

    check = make(stock.address)
    await check.run()
    await check.close()
    assert not leftovers()
    before = descriptors()
    await check.run()
    with faults.stopped(stock.process):
        for _ in range(5):
            await timed_out(check, 0.02)
    await check.close()
    assert not leftovers()
    async with asyncio.timeout(PATIENCE):
        while descriptors() > before:  # grpc closes on threads of its own
            await asyncio.sleep(0.01)

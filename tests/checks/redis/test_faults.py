"""The redis check meets the faults of a network: it names them, leaks nothing and recovers."""

import asyncio
import gc
import re
import warnings
from urllib.parse import quote

import pytest

from petsage_grpc.checks.redis import RedisCheck
from tests import faults, processes, redis_servers
from tests.checks.redis.conftest import Make, descriptors, failure, passes, timeout
from tests.faults import HOST
from tests.redis_servers import PASSWORD, RedisServer

RUNS = 50


async def test_a_restart_between_two_runs_costs_no_failure(make: Make) -> None:
    with redis_servers.running() as server:
        checks = [make(f"redis://{server.address}"), make(f"redis://{server.address}", write=True)]
        for end in (server.kill, server.stop):
            for check in checks:
                await passes(check)
            end()
            server.start()
            for check in checks:
                await passes(check)


async def test_a_server_that_is_killed_is_named_until_it_is_back(make: Make) -> None:
    with redis_servers.running() as server:
        check = make(f"redis://{server.address}")
        await passes(check)
        server.kill()
        nothing = f"nothing listens on {server.address}: start Redis there, or correct url"
        assert await failure(check) == nothing
        server.start()
        await passes(check)


async def test_a_socket_that_is_not_there_is_named(make: Make) -> None:
    said = await failure(make("unix:///nowhere/redis.sock"))
    assert said == "nothing listens on /nowhere/redis.sock: start Redis there, or correct url"


async def test_a_server_that_is_stopped_is_named_by_the_timeout_until_it_goes_on(
    server: RedisServer, make: Make
) -> None:
    check = make(f"redis://{server.address}")
    with server.frozen():
        assert await timeout(check) == f"waiting for the answer of {server.address}"
    await passes(check)
    with server.frozen():
        assert await timeout(check) == f"waiting for the answer of {server.address}"
    await passes(check)


async def test_the_step_that_hangs_is_named(server: RedisServer, make: Make) -> None:
    at = server.address
    with faults.silent() as silent, faults.black_hole() as hole:
        assert await timeout(make(f"redis://{HOST}:{hole}")) == f"connecting to {HOST}:{hole}"
        login = f"logging in to {HOST}:{silent}"
        assert await timeout(make(f"redis://:secret@{HOST}:{silent}")) == login
    check = make(f"redis://{at}", write=True)
    await passes(check)
    with server.frozen():
        assert await timeout(check) == f"writing to {at}"


async def test_a_check_passes_again_though_its_last_run_was_cut_off_in_the_middle(
    server: RedisServer, make: Make
) -> None:
    check = make(f"redis://{server.address}", write=True)
    for steps in range(40):
        run = asyncio.ensure_future(check.run())
        for _ in range(steps):
            await asyncio.sleep(0)
        run.cancel()
        await asyncio.wait([run])
        await passes(check)


@pytest.mark.parametrize("form", ["redis://{0}", "unix://{1}", "redis+cluster://{0}"])
async def test_runs_that_are_cut_off_leave_no_connection_and_no_task(
    form: str, server: RedisServer, make: Make
) -> None:
    check = make(form.format(server.address, server.socket))
    with server.frozen():
        await assert_nothing_is_left(check)


async def test_runs_that_are_cut_off_in_a_handshake_leave_no_connection_and_no_task(
    make: Make,
) -> None:
    with faults.silent() as port:
        await assert_nothing_is_left(make(f"rediss://{HOST}:{port}"))


async def assert_nothing_is_left(check: RedisCheck) -> None:
    tasks, before = len(asyncio.all_tasks()), descriptors()
    for _ in range(RUNS):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(check.run(), 0.004)
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == tasks
    assert descriptors() <= before


async def test_a_closed_check_leaves_nothing_and_no_warning(server: RedisServer) -> None:
    before = descriptors()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        check = RedisCheck(url=f"redis://{server.address}")
        await passes(check)
        assert descriptors() <= before + 1
        await check.close()
        assert descriptors() <= before
        del check
        gc.collect()
        assert not warned


async def test_a_check_that_never_ran_can_be_closed() -> None:
    await RedisCheck(url="redis://cache").close()


async def test_a_host_that_nobody_knows_is_named(make: Make) -> None:
    said = await failure(make(f"redis://{faults.UNRESOLVABLE}"))
    assert re.fullmatch(
        rf"{faults.UNRESOLVABLE} can not be resolved \(.+\): correct the host, or see to the DNS",
        said,
    )


async def test_a_host_that_nobody_can_have_is_named(make: Make) -> None:
    said = await failure(make(f"redis://{'a' * 64}.example"))
    assert said.endswith("correct the host, or see to the DNS")


@pytest.mark.parametrize(
    "words",
    [
        faults.GARBAGE,
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"$x\r\n",
        b"x" * 100_000,
        b"*1\r\n" * 5_000,
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
    ids=["garbage", "http", "a length", "a long line", "deep arrays", "ssh"],
)
async def test_a_server_that_speaks_something_else_is_named(words: bytes, make: Make) -> None:
    with faults.speaking(words) as port:
        said = await failure(make(f"redis://{HOST}:{port}"))
    assert said.startswith(f"{HOST}:{port} does not speak Redis's protocol (")
    assert said.endswith("): correct the port in url")


@pytest.mark.parametrize(
    "words", [b"+HELLO\r\n", b":1\r\n", b"$4\r\nping\r\n", b"*0\r\n", b"$-1\r\n"]
)
async def test_another_answer_to_ping_is_a_failure(words: bytes, make: Make) -> None:
    with faults.speaking(words * 3) as port:
        said = await failure(make(f"redis://{HOST}:{port}"))
    assert re.fullmatch(rf"{HOST}:{port} answered PING with '.+': correct the port in url", said)


async def test_a_server_that_closes_without_a_word_is_named(make: Make) -> None:
    with faults.speaking(b"") as port:
        said = await failure(make(f"redis://{HOST}:{port}"))
    assert said == (
        f"{HOST}:{port} closed the connection: look into its log; if it speaks TLS, write rediss"
        " instead of redis in url"
    )


async def test_a_server_that_closes_in_the_middle_is_named(make: Make) -> None:
    with faults.speaking(b"+OK\r\n" * 3) as port:
        said = await failure(make(f"redis://{HOST}:{port}", write=True))
    assert said == f"{HOST}:{port} closed the connection: look into its log"


async def test_a_long_error_is_told_whole_for_it_is_cut_once_its_secrets_are_out(
    make: Make,
) -> None:
    with faults.speaking((b"-ERR " + b"x" * 5000 + b"\r\n") * 3) as port:
        said = await failure(make(f"redis://{HOST}:{port}"))
    assert said == f"{HOST}:{port} answered with an error: {'x' * 5000}"


async def test_secrets_are_shown_nowhere(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    parrot = f"-ERR no {PASSWORD} {quote(PASSWORD, safe='')} redis://petsage:{PASSWORD}@x/\r\n"
    with faults.speaking(parrot.encode() * 3) as port, faults.silent() as silent:
        for at in (port, silent, faults.free_port()):
            check = make(f"redis://petsage:{quote(PASSWORD, safe='')}@{HOST}:{at}", write=True)
            with pytest.raises(Exception) as failed:  # noqa: PT011 -- whatever it is
                await asyncio.wait_for(check.run(), 0.1)
            for text in (str(failed.value), repr(failed.value), repr(check), check.doing):
                assert not leaked(text), text
    assert not leaked(caplog.text)


def leaked(text: str) -> bool:
    return any(part in text for part in ("p@ss", "w:rd", quote(PASSWORD, safe="")))


def test_the_kind_is_known_without_its_driver_and_says_how_to_have_it() -> None:
    ran = processes.python(
        "import sys; sys.modules['redis'] = None\n"
        "from petsage_grpc.checks import load_kind\n"
        "try: load_kind('redis')(url='redis://cache')\n"
        "except ValueError as error: print(error)"
    )
    assert ran.stdout == 'redis: needs redis-py: pip install "petsage-grpc[redis]"\n', ran.stderr

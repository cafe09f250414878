"""The redis check passes where Redis works, and names what a server answers that does not."""

import asyncio
import contextlib
import shutil
import socket
import threading
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from petsage_grpc.checks.redis import RedisCheck
from petsage_grpc.core.check import CheckFailedError
from tests import redis_servers
from tests.checks.redis.conftest import Make, failure, passes, passes_at_last
from tests.redis_servers import HOST, PASSWORD, RedisServer


@pytest.fixture(scope="module")
def replica(server: RedisServer) -> Iterator[RedisServer]:
    with redis_servers.running("--replicaof", HOST, str(server.port)) as replica:
        replica.wait_for("MASTER <-> REPLICA sync: Finished with success")
        yield replica


@contextlib.contextmanager
def password(server: RedisServer) -> Iterator[None]:
    server.execute("CONFIG", "SET", "requirepass", PASSWORD)
    try:
        yield
    finally:
        server.execute("CONFIG", "SET", "requirepass", "", password=PASSWORD)


@contextlib.contextmanager
def user(server: RedisServer, *rules: str) -> Iterator[str]:
    """Let a user in with these rules, by the password; yield the URL with which it comes."""
    server.execute("ACL", "SETUSER", "petsage", "reset", "on", f">{PASSWORD}", *rules)
    try:
        yield f"redis://petsage:{quote(PASSWORD, safe='')}@{server.address}"
    finally:
        server.execute("ACL", "DELUSER", "petsage")


def served(server: RedisServer, password: str = "") -> int:
    """Count the connections that a server has had, this one too."""
    stats = server.execute("INFO", "stats", password=password)
    return int(stats["total_connections_received"])


async def test_a_server_that_answers_passes_and_its_connection_is_kept(
    server: RedisServer, make: Make
) -> None:
    check = make(f"redis://{server.address}")
    before = served(server)
    for _ in range(3):
        await passes(check)
    assert served(server) - before == 2, "one is ours, and one that of the administrator"


async def test_it_passes_by_a_socket(server: RedisServer, make: Make) -> None:
    await passes(make(f"unix://{server.socket}?db=1", write=True))


async def test_it_passes_by_the_name_of_a_host(server: RedisServer, make: Make) -> None:
    await passes(make(f"redis://localhost:{server.port}"))


async def test_without_write_nothing_is_written(server: RedisServer, make: Make) -> None:
    before = server.execute("INFO", "commandstats").get("cmdstat_set", {"calls": 0})["calls"]
    await passes(make(f"redis://{server.address}"))
    after = server.execute("INFO", "commandstats").get("cmdstat_set", {"calls": 0})["calls"]
    assert after == before


async def test_what_is_written_goes_to_the_database_of_the_url_and_lives_a_minute(
    server: RedisServer, make: Make
) -> None:
    check = make(f"redis://{server.address}/3", write=True, key="orders:health")
    await passes(check)
    await passes(check)
    with server.client() as client:
        client.select(3)
        (key,) = client.keys()
        assert key.startswith("orders:health:")
        assert 0 < client.ttl(key) <= 60
        client.flushdb()


async def test_two_checks_that_write_at_once_do_not_disturb_each_other(
    server: RedisServer, make: Make
) -> None:
    checks = [make(f"redis://{server.address}", write=True) for _ in range(2)]

    async def often(check: RedisCheck) -> None:
        for _ in range(100):
            await passes(check)

    await asyncio.gather(*map(often, checks))


async def test_something_that_deletes_what_is_written_is_noticed(
    server: RedisServer, make: Make
) -> None:
    ended = threading.Event()

    def delete() -> None:
        with server.client() as client:
            while not ended.is_set():
                client.flushall()

    async def run_until_it_fails() -> None:
        check = make(f"redis://{server.address}", write=True)
        async with asyncio.timeout(10):
            while True:
                await check.run()

    thread = threading.Thread(target=delete)
    thread.start()
    try:
        with pytest.raises(CheckFailedError, match="did not give back what was written"):
            await run_until_it_fails()
    finally:
        ended.set()
        thread.join()


async def test_a_password_lets_in_from_the_url_and_from_the_settings(
    server: RedisServer, make: Make
) -> None:
    with password(server):
        await passes(make(f"redis://:{quote(PASSWORD, safe='')}@{server.address}"))
        await passes(make(f"redis://{server.address}", password=PASSWORD))
        await passes(make(f"redis://:wrong@{server.address}", password=PASSWORD))


async def test_a_user_and_a_password_let_in(server: RedisServer, make: Make) -> None:
    with user(server, "+ping") as url:
        await passes(make(url))
        await passes(make(f"redis://{server.address}", username="petsage", password=PASSWORD))


async def test_a_user_without_password_is_let_in(server: RedisServer, make: Make) -> None:
    with user(server, "+ping", "nopass"):
        await passes(make(f"redis://petsage@{server.address}"))


async def test_a_missing_password_is_named(server: RedisServer, make: Make) -> None:
    check = make(f"redis://{server.address}")
    with password(server):
        said = f"{server.address} demands a password: set password"
        assert await failure(check) == said
    await passes(check)


async def test_a_wrong_password_is_named_and_not_shown(
    server: RedisServer, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    check = make(f"redis://default:{quote('other-secret')}@{server.address}")
    with password(server):
        before = served(server, PASSWORD)
        with pytest.raises(CheckFailedError) as failed:
            await check.run()
        assert served(server, PASSWORD) - before == 2, "it does not try again"
    said = f"{server.address} refuses the user name or the password: correct them"
    assert str(failed.value) == said
    for text in (repr(failed.value), repr(check), check.doing, caplog.text):
        assert "other-secret" not in text


async def test_a_password_that_nobody_asks_for_is_named(server: RedisServer, make: Make) -> None:
    said = f"{server.address} has no password for its default user: leave it out, or set username"
    assert await failure(make(f"redis://:secret@{server.address}")) == said


async def test_a_command_that_the_user_may_not_run_is_named(
    server: RedisServer, make: Make
) -> None:
    with user(server, "+get", "~*") as url:
        lets_not = f"{server.address} does not let this user"
        mend = "allow it there with ACL SETUSER"
        assert await failure(make(url)) == f"{lets_not} run PING: {mend}"
        assert await failure(make(url, write=True)) == f"{lets_not} run SET: {mend}"


async def test_a_key_that_the_user_may_not_touch_is_named(server: RedisServer, make: Make) -> None:
    with user(server, "+get", "+set", "~petsage:health:*") as url:
        await passes(make(url, write=True))
        said = await failure(make(url, write=True, key="other"))
    assert said == (
        f"{server.address} does not let this user touch the key: allow it there with ACL SETUSER,"
        " or set key"
    )


async def test_a_database_that_does_not_exist_is_named(server: RedisServer, make: Make) -> None:
    said = f"{server.address} has no database of that number: correct it in url"
    assert await failure(make(f"redis://{server.address}/99")) == said


async def test_a_replica_answers_but_is_not_written_to(replica: RedisServer, make: Make) -> None:
    await passes(make(f"redis://{replica.address}"))
    said = await failure(make(f"redis://{replica.address}", write=True))
    assert said == (
        f"{replica.address} is a read-only replica: name its master in url, or set write = false"
    )


@pytest.mark.usefixtures("redis_7")
async def test_a_replica_without_its_master_that_may_not_answer_is_named(make: Make) -> None:
    options = ("--replica-serve-stale-data", "no", "--replicaof", HOST, "1")
    with redis_servers.running(*options) as replica:
        said = await failure(make(f"redis://{replica.address}"))
    assert said == (
        f"{replica.address} is a replica that has lost its master: bring the master back"
    )


async def test_a_master_with_too_few_replicas_is_named(server: RedisServer, make: Make) -> None:
    check = make(f"redis://{server.address}", write=True)
    with server.configured(min_replicas_to_write=5):
        said = await failure(check)
    assert said == (
        f"{server.address} has fewer good replicas than min-replicas-to-write: bring them back"
    )
    await passes(check)


async def test_a_full_memory_is_named(server: RedisServer, make: Make) -> None:
    check = make(f"redis://{server.address}", write=True)
    with server.configured(maxmemory=1):
        said = await failure(check)
        await passes(make(f"redis://{server.address}"))
    assert said == (
        f"{server.address} has reached its maxmemory and refuses writes: raise it, or let it evict"
        " keys"
    )
    await passes(check)


async def test_data_that_can_not_be_saved_is_named(make: Make) -> None:
    with redis_servers.running() as server:
        server.execute("CONFIG", "SET", "save", "3600 1")
        shutil.rmtree(server.folder)
        with socket.create_connection((HOST, server.port)) as asking:
            asking.sendall(b"BGSAVE\r\n")
            server.wait_for("Background saving error")
        said = await failure(make(f"redis://{server.address}", write=True))
    assert said == (
        f"{server.address} can not save its data and so refuses writes: free its disk, and look"
        " into its log"
    )


@pytest.mark.usefixtures("redis_7")
async def test_a_server_that_loads_its_data_is_named_until_it_has(make: Make) -> None:
    with redis_servers.running("--save", "3600 1", "--rdbcompression", "no") as server:
        check = make(f"redis://{server.address}")
        await passes(check)
        fill = "for i = 1, 50 do redis.call('SET', i, string.rep('x', 2000)) end"
        server.execute("EVAL", fill, 0)
        server.stop()
        slow = ("--key-load-delay", "5000", "--loading-process-events-interval-bytes", "1024")
        server.start(*slow, until="Loading RDB")
        said = await failure(check)
        assert said == f"{server.address} is still loading its data: wait until it has"
        server.wait_for("DB loaded from disk")
        await passes(check)


async def test_a_server_that_takes_no_more_clients_is_named(
    server: RedisServer, make: Make
) -> None:
    with redis_servers.running("--maxclients", "1") as full:
        check = make(f"redis://{full.address}")
        with socket.create_connection((HOST, full.port)) as taken:
            taken.sendall(b"PING\r\n")
            assert taken.recv(100)
            said = await failure(check)
    assert said == (
        f"{full.address} takes no more clients: raise its maxclients, or find out who keeps"
        " connections"
    )


async def test_a_server_that_is_busy_with_a_script_is_named(make: Make) -> None:
    with redis_servers.running("--lua-time-limit", "1") as busy:
        check = make(f"redis://{busy.address}")
        await passes(check)
        with socket.create_connection((HOST, busy.port)) as script:
            script.sendall(b"EVAL 'while true do end' 0\r\n")
            busy.wait_for("(?i)slow script detected")
            said = await failure(check)
            busy.execute("SCRIPT", "KILL")
        await passes_at_last(check)
    assert said == (
        f"{busy.address} is busy with a SCRIPT: end it with SCRIPT KILL, and look why it takes so"
        " long"
    )


def unquoted(text: str) -> str:
    """Take away quotes, of which releases use different ones."""
    return text.translate(dict.fromkeys(map(ord, "'`")))


async def test_any_other_error_is_told_as_the_server_says_it_without_what_we_said(
    make: Make,
) -> None:
    hidden = [word for name in ("SET", "AUTH") for word in ("--rename-command", name, "")]
    with redis_servers.running(*hidden) as server:
        told = f"{server.address} answered with an error: unknown command"
        at = f"redis://{server.address}"
        assert unquoted(await failure(make(at, write=True))) == f"{told} SET"
        assert unquoted(await failure(make(at, password="abc" * 50))) == f"{told} AUTH"


@pytest.mark.usefixtures("redis_7")
async def test_a_server_that_serves_its_own_machine_alone_is_named(make: Make) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as outward:
        try:
            outward.connect(("192.0.2.1", 9))  # sends nothing, but chooses the way
        except OSError:
            pytest.skip("this machine has no address but its loopback's")
        host = outward.getsockname()[0]
    with redis_servers.running("--bind", host, "--protected-mode", "yes") as server:
        said = await failure(make(f"redis://{host}:{server.port}"))
    assert said == (
        f"{host}:{server.port} is in protected mode and so serves its own machine alone: set a"
        " password there"
    )

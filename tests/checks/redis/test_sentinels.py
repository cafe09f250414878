"""The redis check asks real sentinels for the master, and follows a failover."""

from collections.abc import Iterator

import pytest

from tests import faults, redis_servers
from tests.checks.redis.conftest import Make, descriptors, failure, passes, passes_at_last, timeout
from tests.faults import HOST
from tests.redis_servers import PASSWORD, SERVICE, RedisServer, Sentinel

Three = tuple[RedisServer, RedisServer, Sentinel]


@pytest.fixture(scope="module")
def three() -> Iterator[Three]:
    with redis_servers.running_sentinel() as three:
        yield three


async def test_the_master_that_a_sentinel_names_passes(three: Three, make: Make) -> None:
    master, _, sentinel = three
    check = make(f"redis+sentinel://{sentinel.address}/{SERVICE}/2", write=True, key="sentinels")
    await passes(check)
    await passes(check)
    with master.client() as client:
        client.select(2)
        (key,) = client.keys()
        assert key.startswith("sentinels:")


async def test_sentinels_that_do_not_answer_matter_not_while_one_does(
    three: Three, make: Make
) -> None:
    with faults.silent() as silent, faults.black_hole() as hole, faults.refused() as refused:
        dead = ",".join(f"{HOST}:{port}" for port in (silent, hole, refused))
        check = make(f"redis+sentinel://{dead},{three[2].address}/{SERVICE}")
        await passes(check)
        await passes(check)


async def test_a_sentinel_that_falls_silent_costs_one_run_when_there_is_another(
    three: Three, make: Make
) -> None:
    master, _, sentinel = three
    with Sentinel(master=master) as other:
        other.start()
        check = make(f"redis+sentinel://{other.address},{sentinel.address}/{SERVICE}")
        with sentinel.frozen():
            await passes(check)
        with other.frozen():
            assert await timeout(check) == f"asking the sentinel {other.address} for its master"
            await passes(check)
        with sentinel.frozen():
            assert await timeout(check) == f"asking the sentinel {sentinel.address} for its master"
            await passes(check)
        other.kill()
        with master.frozen():
            assert await timeout(check) == f"waiting for the answer of {master.address}"
        with sentinel.frozen():
            assert await timeout(check) == f"asking the sentinel {sentinel.address} for its master"
        await passes(check)


async def test_no_sentinel_that_answers_is_a_failure_that_names_the_first(make: Make) -> None:
    with faults.refused() as port, faults.refused() as other:
        said = await failure(make(f"redis+sentinel://{HOST}:{port},{HOST}:{other}/{SERVICE}"))
    assert said == f"nothing listens on {HOST}:{port}: start Redis there, or correct url"


async def test_a_master_that_no_sentinel_knows_is_named(three: Three, make: Make) -> None:
    at = three[2].address
    said = await failure(make(f"redis+sentinel://{at}/orders"))
    assert said == f"the sentinel {at} knows no master called 'orders': correct it in url"


async def test_a_server_that_is_no_sentinel_is_named(three: Three, make: Make) -> None:
    at = three[0].address
    said = await failure(make(f"redis+sentinel://{at}/{SERVICE}"))
    assert said == (f"{at} is no sentinel: correct the port in url, or begin it with redis://")


async def test_a_replica_that_a_sentinel_takes_for_the_master_is_named(
    three: Three, make: Make
) -> None:
    _, replica, _ = three
    with Sentinel(master=replica) as wrong:
        wrong.start()
        said = await failure(make(f"redis+sentinel://{wrong.address}/{SERVICE}"))
        both = f"{wrong.address},{three[2].address}"
        await passes(make(f"redis+sentinel://{both}/{SERVICE}"))  # the other knows better
    assert said == (
        f"{replica.address} is no master, though the sentinel {wrong.address} names it: see that"
        " its failover ends"
    )


async def test_sentinels_and_their_master_have_each_a_password_of_its_own(make: Make) -> None:
    with (
        redis_servers.running("--requirepass", "inside") as guarded,
        Sentinel("--requirepass", PASSWORD, master=guarded) as sentinel,
    ):
        sentinel.start()
        url = f"redis+sentinel://:inside@{sentinel.address}/{SERVICE}"
        await passes(make(url, sentinel_password=PASSWORD))
        said = f"{sentinel.address} demands a password: set sentinel_password"
        assert await failure(make(url)) == said
        said = f"{sentinel.address} refuses the user name or the password: correct them"
        assert await failure(make(url, sentinel_password="other")) == said
        said = f"{guarded.address} demands a password: set password"
        check = make(url.replace(":inside@", ""), sentinel_password=PASSWORD)
        assert await failure(check) == said


async def test_a_user_who_may_not_ask_for_the_role_of_the_master_passes(
    three: Three, make: Make
) -> None:
    master, _, sentinel = three
    master.execute("ACL", "SETUSER", "petsage", "on", ">inside", "+ping")
    await passes(make(f"redis+sentinel://petsage:inside@{sentinel.address}/{SERVICE}"))


async def test_a_failover_is_followed_by_the_same_check(make: Make) -> None:
    with redis_servers.running_sentinel() as (master, replica, sentinel):
        check = make(f"redis+sentinel://{sentinel.address}/{SERVICE}", write=True)
        await passes(check)
        seen = len(sentinel.lines)
        master.kill()
        said = f"nothing listens on {master.address}: start Redis there, or correct url"
        assert await failure(check) == said
        sentinel.wait_for(r"\+switch-master", since=seen)
        await passes_at_last(check)
        assert replica.execute("KEYS", "petsage:health:*")


async def test_the_connection_to_a_former_master_is_given_up(
    server: RedisServer, make: Make
) -> None:
    with redis_servers.running() as former, Sentinel(master=former) as sentinel:
        sentinel.start()
        check = make(f"redis+sentinel://{sentinel.address}/{SERVICE}")
        await passes(check)
        before = descriptors()
        sentinel.execute("SENTINEL", "REMOVE", SERVICE)
        sentinel.execute("SENTINEL", "MONITOR", SERVICE, HOST, server.port, 1)
        for _ in range(2):
            await passes(check)
        assert descriptors() <= before

"""The redis check sees all the masters of a real cluster, and follows slots that move."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

import pytest
from redis.exceptions import ResponseError

from petsage_grpc.core.check import CheckFailedError
from tests import faults
from tests.checks.redis.conftest import Make, failure, passes, passes_at_last, timeout
from tests.faults import HOST
from tests.redis_servers import SLOTS, Cluster, ClusterNode, RedisServer


def url(*nodes: RedisServer) -> str:
    return "redis+cluster://" + ",".join(node.address for node in nodes)


def emptied(cluster: Cluster) -> Sequence[RedisServer]:
    for master in cluster.masters:
        master.execute("FLUSHALL")
    return cluster.masters


async def test_one_node_leads_to_all_masters_and_each_is_written_to(
    cluster: Cluster, make: Make
) -> None:
    check = make(url(cluster.masters[0]), write=True)
    await passes(check)
    await passes(check)
    for master in cluster.masters:
        (key,) = master.execute("KEYS", "petsage:health:*")
        assert 0 < master.execute("TTL", key) <= 60


async def test_without_write_nothing_is_written(cluster: Cluster, make: Make) -> None:
    emptied(cluster)
    await passes(make(url(*cluster.masters)))
    assert [master.execute("DBSIZE") for master in cluster.masters] == [0, 0, 0]


async def test_nodes_that_do_not_answer_matter_not_while_one_does(
    cluster: Cluster, make: Make
) -> None:
    with faults.silent() as silent, faults.black_hole() as hole, faults.refused() as refused:
        dead = ",".join(f"{HOST}:{port}" for port in (silent, hole, refused))
        check = make(f"redis+cluster://{dead},{cluster.masters[1].address}")
        await passes(check)
        await passes(check)


async def test_no_node_that_answers_is_a_failure_that_names_the_first(make: Make) -> None:
    with faults.refused() as port, faults.refused() as other:
        said = await failure(make(f"redis+cluster://{HOST}:{port},{HOST}:{other}"))
    assert said == f"nothing listens on {HOST}:{port}: start Redis there, or correct url"


async def test_a_master_that_is_stopped_is_named_by_the_timeout(
    cluster: Cluster, make: Make
) -> None:
    guide, *others = cluster.masters
    with faults.silent() as port:
        check = make(f"{url(guide)},{HOST}:{port}")
        for frozen in others:
            with frozen.frozen():
                assert await timeout(check) == f"waiting for the answer of {frozen.address}"
    await passes_at_last(check)


async def test_nodes_that_all_hang_are_named(cluster: Cluster, make: Make) -> None:
    check = make(url(*cluster.masters))
    with ExitStack() as stack:
        for master in cluster.masters:
            stack.enter_context(master.frozen())
        doing = await timeout(check)
    assert doing == ", ".join(f"waiting for the answer of {at.address}" for at in cluster.masters)
    await passes_at_last(check)


async def test_a_slot_that_nobody_serves_is_a_failure(cluster: Cluster, make: Make) -> None:
    guide = cluster.masters[0]
    check = make(url(guide))
    await passes(check)
    with ExitStack() as stack:
        for master in cluster.masters:
            stack.enter_context(master.configured(cluster_require_full_coverage="no"))
            master.execute("CLUSTER", "DELSLOTS", 5)
        assert (await failure(check)).endswith(
            f" says that no master serves 1 of the {SLOTS} slots: bring back those that are"
            " missing, or give the slots to others"
        )
        cluster.settle()
    await passes(check)


async def test_a_cluster_that_one_of_its_masters_calls_down_is_a_failure(
    cluster: Cluster, make: Make
) -> None:
    guide, _, other = cluster.masters
    check = make(url(guide))

    async def lose_a_slot() -> bool:
        with suppress(ResponseError):  # it is lost
            other.execute("CLUSTER", "DELSLOTS", 5)
        try:
            await passes(check)
        except CheckFailedError as error:
            return str(error) == (
                f"{other.address} says that the cluster is down: bring back the masters that are"
                " missing"
            )
        return False

    await sooner_than_gossip(cluster, lose_a_slot)
    await passes_at_last(check)


async def sooner_than_gossip(cluster: Cluster, attempt: Callable[[], Awaitable[bool]]) -> None:
    """Try until it succeeds: what a master is told, the others may undo or learn too soon."""
    for _ in range(20):
        if await attempt():
            return
        cluster.settle()
    pytest.fail("gossip was always sooner")


@contextmanager
def moving(cluster: Cluster) -> Iterator[tuple[int, list[str]]]:
    """Yield the slot of what was written to the first master, which is empty now, and all ids.

    After the block the slot is the first master's again.
    """
    source = cluster.masters[0]
    (key,) = source.execute("KEYS", "petsage:health:*")
    slot = source.execute("CLUSTER", "KEYSLOT", key)
    emptied(cluster)
    try:
        yield slot, cluster.ids()
    finally:
        for master in emptied(cluster):
            master.execute("CLUSTER", "SETSLOT", slot, "STABLE")
        cluster.settle()


async def test_a_slot_that_is_just_moving_is_written_to_where_it_goes(
    cluster: Cluster, make: Make
) -> None:
    source, aim, guide = emptied(cluster)
    check = make(url(guide), write=True)
    await passes(check)
    with moving(cluster) as (slot, ids):
        aim.execute("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
        source.execute("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
        await passes(check)
        assert source.execute("DBSIZE") == 0
        assert aim.execute("CLUSTER", "COUNTKEYSINSLOT", slot) == 1
    await passes(check)


async def test_a_slot_that_has_moved_is_written_to_where_it_is(
    cluster: Cluster, make: Make
) -> None:
    source, aim, guide = emptied(cluster)
    check = make(url(guide), write=True)

    async def move() -> bool:
        await passes(check)
        with moving(cluster) as (slot, ids):
            aim.execute("CLUSTER", "SETSLOT", slot, "NODE", ids[1])
            source.execute("CLUSTER", "SETSLOT", slot, "NODE", ids[1])
            with suppress(CheckFailedError):
                await passes(check)
            return bool(aim.execute("CLUSTER", "COUNTKEYSINSLOT", slot))

    await sooner_than_gossip(cluster, move)
    await passes(check)


async def test_masters_that_send_us_to_each_other_are_a_failure(
    cluster: Cluster, make: Make
) -> None:
    source, _, guide = emptied(cluster)
    check = make(url(guide), write=True)

    async def mislead() -> bool:
        await passes(check)
        with moving(cluster) as (slot, ids):
            source.execute("CLUSTER", "SETSLOT", slot, "NODE", ids[1])
            try:
                await passes(check)
            except CheckFailedError as error:
                return str(error).startswith("the masters of the cluster send us from one to the")
        return False

    await sooner_than_gossip(cluster, mislead)
    await passes(check)


async def test_a_node_that_has_fallen_behind_is_not_believed_twice(
    cluster: Cluster, make: Make
) -> None:
    with ClusterNode("a" * 40) as behind, ClusterNode("b" * 40) as gone:
        behind.join([gone], {gone.name: range(SLOTS)})
        behind.start()
        check = make(url(cluster.masters[0], behind))
        with cluster.masters[0].frozen():
            assert (await failure(check)).startswith(f"nothing listens on {gone.address}")
        await passes(check)


async def test_the_masters_are_found_again_though_the_node_of_the_url_is_gone(
    cluster: Cluster, make: Make
) -> None:
    slots = {name: cluster.slots(number) for number, name in enumerate(cluster.ids())}
    with ClusterNode("a" * 40) as node:
        node.join(cluster.masters, slots)
        node.start()
        check = make(url(node))
        await passes(check)
    await passes(check)


@pytest.mark.usefixtures("redis_7")
async def test_masters_that_do_not_say_their_host_are_where_the_node_is(
    cluster: Cluster, make: Make
) -> None:
    with ExitStack() as stack:
        for master in cluster.masters:
            endpoint = {"cluster_preferred_endpoint_type": "unknown-endpoint"}
            stack.enter_context(master.configured(**endpoint))
        await passes(make(url(cluster.masters[0]), write=True))


async def test_a_full_memory_of_one_master_is_named(cluster: Cluster, make: Make) -> None:
    full = cluster.masters[1]
    check = make(url(cluster.masters[0]), write=True)
    with full.configured(maxmemory=1):
        said = await failure(check)
    assert said.startswith(f"{full.address} has reached its maxmemory and refuses writes: ")
    await passes(check)


async def test_a_master_that_is_killed_is_named_until_it_is_back(
    cluster: Cluster, make: Make
) -> None:
    dead = cluster.masters[0]
    check = make(url(*cluster.masters), write=True)
    await passes(check)
    dead.kill()
    said = f"nothing listens on {dead.address}: start Redis there, or correct url"
    assert await failure(check) == said
    dead.start()
    await passes_at_last(check)


async def test_a_node_alone_is_named(cluster: Cluster, make: Make) -> None:
    at = cluster.masters[0].address
    for _ in range(20):  # two of three keys belong to others
        try:
            await passes(make(f"redis://{at}", write=True))
        except CheckFailedError as error:
            said = str(error)
    assert said == f"{at} is a node of a cluster: begin url with redis+cluster://"


async def test_a_server_that_is_in_no_cluster_is_named(server: RedisServer, make: Make) -> None:
    said = await failure(make(url(server)))
    assert said == f"{server.address} is no node of a cluster: begin url with redis://"


@pytest.mark.parametrize("words", [b"*1\r\n:1\r\n", b"+OK\r\n", b"*1\r\n*1\r\n:0\r\n"])
async def test_an_answer_that_is_no_list_of_masters_is_a_failure(words: bytes, make: Make) -> None:
    with faults.speaking(words * 3) as port:
        said = await failure(make(f"redis+cluster://{HOST}:{port}"))
    assert said.startswith(f"{HOST}:{port} does not speak Redis's protocol")

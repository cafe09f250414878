"""Finds the masters of a cluster, or the one that sentinels know, and asks those."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import ResponseError

from petsage_grpc.checks._redis_link import Link, Links, Login, RedirectedError, prove
from petsage_grpc.checks._redis_url import Address, Target
from petsage_grpc.core.check import CheckFailedError

__all__ = ["Guides", "prove_by_sentinels", "prove_cluster"]

_MOST_GUIDES: Final = 3
"""Masters of a cluster that are asked for it as well as the nodes of the url."""
_MOST_REDIRECTIONS: Final = 5

T = TypeVar("T")


class Guides:
    """Those who know where the masters are; the one that has led us there is asked first."""

    def __init__(self, links: Links, target: Target, login: Login) -> None:
        self.links = links
        self.target = target
        self.login = login
        self.masters: list[Address] = []
        """Where the masters were when we asked last."""
        self.cluster: Any = None
        """What a cluster has answered to make us know them."""
        self.keys: dict[Address, str] = {}
        """What is written to each of them."""
        self._last: Address | None = None
        self._doubted: Address | None = None

    def link(self, address: Address) -> Link:
        """Return the way to one of them."""
        return self.links.to(address, self.login)

    def doubt(self) -> None:
        """Ask others next time: the one that has led us may not know of a change."""
        self._last, self._doubted = None, self._last

    async def ask(self, follow: Callable[[Address], Coroutine[Any, Any, T]]) -> T:
        """Return what the first of them that leads somewhere leads to.

        Raises CheckFailedError.
        """
        last, self._last = self._last, None  # one that hangs is not asked alone again
        doubted, self._doubted = self._doubted, None
        also = () if self.target.service else self.masters[:_MOST_GUIDES]
        every = dict.fromkeys([*self.target.addresses, *also])
        self.links.keep({*self.target.addresses, *self.masters})
        others = [guide for guide in every if guide not in (last, doubted)]
        if last is not None:
            try:
                led = await follow(last)
            except CheckFailedError:
                if not others:
                    raise
                self.links.quiet()
            else:
                self._last = last
                return led

        async def lead(guide: Address) -> tuple[Address, T]:
            return guide, await follow(guide)

        self._last, led = await _first_of([lead(guide) for guide in others or every])
        self.links.quiet()
        return led


async def prove_cluster(guides: Guides, key: str) -> None:
    """Have every master of a cluster answer, all slots being served; given a key, write to each.

    Raises CheckFailedError.
    """

    async def follow(guide: Address) -> None:
        link = guides.link(guide)

        async def ask() -> dict[int, Address] | None:
            doing = f"asking {guide} for the masters of the cluster"
            answer = await link.ask("CLUSTER", "SLOTS", doing=doing)
            if (guide, answer) == guides.cluster:
                return None
            owners = _owners(answer, guide)
            if missing := REDIS_CLUSTER_HASH_SLOTS - len(owners):
                raise CheckFailedError(
                    f"{guide} says that no master serves {missing} of the"
                    f" {REDIS_CLUSTER_HASH_SLOTS} slots: bring back those that are missing, or give"
                    " the slots to others"
                )
            guides.cluster = (guide, answer)
            return owners

        if owners := await link.run(ask):
            guides.masters = list(dict.fromkeys(owners.values()))
            guides.keys = _keys(owners, guides.masters, key) if key else {}

    await guides.ask(follow)
    try:
        await _all_of([_prove_master(guides, master) for master in guides.masters])
    except CheckFailedError:
        guides.doubt()
        raise


def _owners(answer: Any, guide: Address) -> dict[int, Address]:  # noqa: ANN401 -- any answer
    """Read who serves each slot; a node that does not know its own host is where we ask."""
    owners = {}
    for first, last, master, *_ in answer:
        address = Address(master[0] or guide.host, int(master[1]))
        for slot in range(max(first, 0), min(last + 1, REDIS_CLUSTER_HASH_SLOTS)):
            owners[slot] = address
    return owners


def _keys(owners: dict[int, Address], masters: list[Address], key: str) -> dict[Address, str]:
    """Make a key for each master, that belongs to one of its slots."""
    keys: dict[Address, str] = {}
    for number in itertools.count():
        name = f"{key}:{number}"
        keys.setdefault(owners[key_slot(name.encode())], name)
        if len(keys) == len(masters):
            break
    return keys


async def _prove_master(guides: Guides, master: Address) -> None:
    link = guides.link(master)

    async def look() -> None:
        info = str(await link.ask("CLUSTER", "INFO"))
        if "cluster_state:ok" not in info:
            raise CheckFailedError(
                f"{master} says that the cluster is down: bring back the masters that are missing"
            )

    await link.run(look)
    key, asking = guides.keys.get(master, ""), False
    for _ in range(_MOST_REDIRECTIONS):
        try:
            return await prove(link, key, asking=asking)
        except RedirectedError as moved:  # the slot moves to another master just now
            link, asking = guides.link(moved.address), moved.asking
    raise CheckFailedError(
        f"the masters of the cluster send us from one to the next with {key}: see that they agree"
        " on who has its slot (redis-cli --cluster check)"
    )


async def prove_by_sentinels(guides: Guides, login: Login, key: str) -> None:
    """Have the master answer that sentinels name; given a key, write to it.

    Raises CheckFailedError.
    """
    service = guides.target.service

    async def follow(guide: Address) -> Address:
        sentinel = guides.link(guide)

        async def ask() -> Address:
            doing = f"asking the sentinel {guide} for its master"
            named = await sentinel.ask("SENTINEL", "get-master-addr-by-name", service, doing=doing)
            if not named:
                raise CheckFailedError(
                    f"the sentinel {guide} knows no master called {service!r}: correct it in url"
                )
            return Address(named[0], int(named[1]))

        address = await sentinel.run(ask)
        master = guides.links.to(address, login)

        async def look() -> None:
            try:
                role = await master.ask("ROLE")
            except ResponseError:  # we may be forbidden to ask, and what comes next tells as well
                return
            if role[0] != "master":
                raise CheckFailedError(
                    f"{address} is no master, though the sentinel {guide} names it: see that its"
                    " failover ends"
                )

        await master.run(look)
        await prove(master, key)
        return address

    guides.masters = [await guides.ask(follow)]


async def _first_of(works: Sequence[Coroutine[Any, Any, T]]) -> T:
    """Return the first result; raises what the first of them raised, when none has one."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        waiting = set(tasks)
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task.exception() is None:
                    return task.result()
        return tasks[0].result()
    finally:
        await _end(tasks)


async def _all_of(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Wait until all is done; what fails first ends the others, and is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        await _end(tasks)


async def _end(tasks: "Sequence[asyncio.Future[T]]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

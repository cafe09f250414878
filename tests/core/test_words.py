"""What is said of the names: it overrides their checks, expires in time, and is bounded."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from petsage_grpc.core.fold import Answer, make_rules
from petsage_grpc.core.monitor import Monitor
from petsage_grpc.core.names import Names
from petsage_grpc.core.status import Health, Status
from petsage_grpc.core.words import MAX_WORDS, Words
from tests.conftest import ManualClock, settle

UP, DOWN, UNKNOWN = Status.SERVING, Status.NOT_SERVING, Status.SERVICE_UNKNOWN
FOLLOWERS = ("", "shop.v1.Orders")
OTHERS = ("liveness", "startup", "shop.v1.Group")


class World:
    """Names without any check of their own, all SERVING, and what is said of them."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.words = Words(clock)
        self.words.followers = FOLLOWERS
        self.names = Names(clock.now, self.words)
        for name in ("readiness", *FOLLOWERS, *OTHERS):
            self.names.put(name, Answer(UP))

    def read(self, *names: str) -> list[Status]:
        return [self.names.read(name) for name in names]


@pytest.fixture
def world(clock: ManualClock) -> World:
    return World(clock)


@pytest.mark.parametrize("name", ["", "readiness"])
def test_all_that_do_as_readiness_does_follow_its_word_and_nobody_else(
    world: World, name: str
) -> None:
    world.words.say(name, serving=False)
    assert world.read("readiness", *FOLLOWERS) == [DOWN] * 3
    assert world.read(*OTHERS) == [UP] * 3
    world.words.take_back(name)
    assert world.read("readiness", *FOLLOWERS) == [UP] * 3


def test_what_is_said_of_a_service_itself_counts_more_than_the_word_of_readiness(
    world: World,
) -> None:
    world.words.say("shop.v1.Orders", serving=True, ttl=5)
    world.words.say("readiness", serving=False)
    assert world.read("readiness", "", "shop.v1.Orders") == [DOWN, DOWN, UP]
    world.clock.jump(5)
    assert world.read("shop.v1.Orders") == [DOWN], "readiness's word holds for it again"


def test_a_word_with_an_end_stands_over_the_one_without_which_holds_again_after_it(
    world: World,
) -> None:
    world.words.say("shop.v1.Group", serving=False, reason="moved")
    world.words.say("shop.v1.Group", serving=True, ttl=5)
    assert world.read("shop.v1.Group") == [UP]
    world.clock.jump(5)
    assert world.read("shop.v1.Group") == [DOWN]
    assert [word.reason for word in world.words] == ["moved"]


def test_a_word_without_an_end_replaces_one_with_an_end(world: World) -> None:
    world.words.say("liveness", serving=False, ttl=5)
    world.words.say("liveness", serving=True)
    assert world.read("liveness") == [UP]
    world.clock.jump(5)
    assert world.read("liveness") == [UP]


def test_taking_back_takes_all_back(world: World) -> None:
    world.words.say("liveness", serving=False)
    world.words.say("liveness", serving=False, ttl=5)
    assert list(world.words)
    world.words.take_back("liveness")
    assert world.read("liveness") == [UP]
    assert not world.words
    assert list(world.words) == []


async def test_a_renewed_word_is_not_ended_by_the_timer_of_the_one_before(
    world: World, clock: ManualClock
) -> None:
    world.words.say("liveness", serving=False, ttl=5)
    await clock.advance(4)
    world.words.say("liveness", serving=False, ttl=5)
    await clock.advance(4.9)
    assert world.read("liveness") == [DOWN]
    await clock.advance(0.1)
    assert world.read("liveness") == [UP]
    assert not world.words, "nothing is kept of it"


@pytest.mark.parametrize("name", ["readiness", "", "shop.v1.Orders", "liveness", "shop.v1.Group"])
def test_an_expired_serving_is_never_read_though_its_timer_is_late(world: World, name: str) -> None:
    world.names.put(name, Answer(DOWN))
    world.words.say(name, serving=True, ttl=5)
    world.clock.jump(4.999)
    assert world.read(name) == [UP]
    world.clock.jump(0.001)
    assert world.read(name) == [DOWN]
    assert world.names.read_all()[name] is DOWN


def test_in_a_drain_nothing_that_drains_is_serving_by_a_word(world: World) -> None:
    drained = ["readiness", *FOLLOWERS, "shop.v1.Group"]
    for name in drained:
        world.names.put(name, Answer(DOWN))
        world.words.say(name, serving=True, ttl=60)
    assert world.read(*drained) == [UP] * 4
    world.names.drain()
    assert world.read(*drained) == [DOWN] * 4


def test_in_a_drain_the_word_of_liveness_still_holds(world: World) -> None:
    world.names.put("liveness", Answer(DOWN))  # a lost heartbeat
    world.words.say("liveness", serving=True, ttl=60)
    world.names.drain()
    assert world.read("liveness") == [UP], "the drain must not have the process restarted"
    world.clock.jump(60)
    assert world.read("liveness") == [DOWN]


async def seen_by_watchers(
    world: World, what: Callable[[], None], *names: str
) -> dict[str, list[Status]]:
    """Say what watchers of the names see while something is done."""
    seen: dict[str, list[Status]] = {name: [] for name in names}

    async def follow(name: str) -> None:
        with world.names.watch(name) as watcher:
            while True:
                seen[name].append(await watcher.next())

    following = [asyncio.create_task(follow(name)) for name in names]
    await settle()
    what()
    await settle()
    await world.clock.advance(100)
    for task in following:
        task.cancel()
    return seen


async def test_a_word_and_its_end_wake_the_watchers_of_all_that_it_is_about(world: World) -> None:
    seen = await seen_by_watchers(
        world, lambda: world.words.say("readiness", serving=False, ttl=5), "", "shop.v1.Orders",
        "readiness", "liveness",
    )  # fmt: skip
    assert seen == {
        "": [UP, DOWN, UP], "shop.v1.Orders": [UP, DOWN, UP], "readiness": [UP, DOWN, UP],
        "liveness": [UP],
    }  # fmt: skip


async def test_a_drain_wakes_the_watchers_of_a_name_that_only_a_word_makes_serving(
    world: World,
) -> None:
    world.names.put("mine", Answer(DOWN))
    world.words.say("mine", serving=True)
    seen = await seen_by_watchers(world, world.names.drain, "mine")
    assert seen == {"mine": [UP, DOWN]}


async def test_a_word_that_changes_no_answer_wakes_nobody(world: World) -> None:
    seen = await seen_by_watchers(
        world, lambda: world.words.say("liveness", serving=True, ttl=5), "liveness"
    )
    assert seen == {"liveness": [UP]}


def test_of_so_many_names_something_can_be_said_and_of_no_more(world: World) -> None:
    for number in range(MAX_WORDS):
        world.words.say(f"n{number}", serving=False, ttl=None if number % 2 else 60)
    with pytest.raises(ValueError, match=r"^something is said of 1000 names already: take one ba"):
        world.words.say("one more", serving=True)
    world.words.say("n7", serving=True, ttl=5)
    world.words.take_back("n8")
    world.words.say("one more", serving=True)


async def test_nothing_is_called_after_the_words_are_closed(
    world: World, clock: ManualClock
) -> None:
    world.words.say("liveness", serving=False, ttl=5)
    told: list[object] = []
    world.words.changed = told.append
    world.words.close()
    await clock.advance(10)
    assert told == []


async def test_a_report_tells_each_word_and_what_the_checks_say(
    world: World, clock: ManualClock
) -> None:
    rules = make_rules({}, {}, FOLLOWERS[1:])
    monitor = Monitor({}, rules, world.names, clock, words=world.words)
    monitor.start()
    assert monitor.report().health is Health.OK
    world.words.say("", serving=False, reason="migrating", ttl=60)
    world.words.say("mine", serving=True)
    report = monitor.report()
    assert report.health is Health.FAILING
    told = {o.word.name: (o.word.serving, o.word.ttl, o.by_checks) for o in report.overrides}
    assert told == {"readiness": (False, 60, UP), "mine": (True, None, None)}
    assert monitor.is_current(report)
    clock.jump(60)
    assert not monitor.is_current(report), "though no timer was served"
    assert monitor.report().health is Health.OK
    await monitor.stop()


NAMES = ["readiness", "", "shop.v1.Orders", "liveness", "shop.v1.Group", "mine"]

happenings = st.lists(
    st.one_of(
        st.tuples(
            st.just("say"), st.sampled_from(NAMES), st.booleans(),
            st.one_of(st.none(), st.floats(0.1, 30)),
        ),
        st.tuples(st.just("take back"), st.sampled_from(NAMES)),
        st.tuples(st.just("checks"), st.sampled_from(NAMES), st.booleans()),
        st.tuples(st.just("advance"), st.floats(0, 20)),
        st.tuples(st.just("jump"), st.floats(0, 40)),
        st.tuples(st.just("drain")),
    ),
    max_size=30,
)  # fmt: skip


@dataclass
class Told:
    """One word, as the reader of the README would note it."""

    serving: bool
    until: float


class Model:
    """What the names must answer, straight from the words of the README."""

    def __init__(self) -> None:
        self.lasting: dict[str, Told] = {}
        self.passing: dict[str, Told] = {}
        self.checks = dict.fromkeys(["readiness", *FOLLOWERS, *OTHERS], True)
        self.draining = False

    def say(self, name: str, serving: bool, until: float | None) -> None:
        name = name or "readiness"
        self.passing.pop(name, None)
        if until is None:
            self.lasting[name] = Told(serving, float("inf"))
        else:
            self.passing[name] = Told(serving, until)
        self.checks.setdefault(name, False)  # nobody vouches for what nothing is said of

    def said(self, name: str, now: float) -> Told | None:
        passing = self.passing.get(name)
        return passing if passing and now < passing.until else self.lasting.get(name)

    def answer(self, name: str, now: float) -> Status:
        if name not in self.checks:
            return UNKNOWN
        told = self.said(name or "readiness", now)
        if told is None and name in FOLLOWERS:
            told = self.said("readiness", now)
        drained = self.draining and name not in ("liveness", "startup")
        up = self.checks[name] if told is None else told.serving
        return UP if up and not drained else DOWN


@given(happenings)
@settings(max_examples=300, deadline=None)
def test_whatever_is_said_the_names_and_their_watchers_follow(
    happened: list[tuple[object, ...]],
) -> None:
    asyncio.run(live_through(happened))


async def live_through(happened: list[tuple[object, ...]]) -> None:
    clock, model = ManualClock(), Model()
    world = World(clock)
    seen: dict[str, list[Status]] = {name: [] for name in NAMES}

    async def follow(name: str) -> None:
        with world.names.watch(name) as watcher:
            while True:
                seen[name].append(await watcher.next())

    following = [asyncio.create_task(follow(name)) for name in NAMES]
    await settle()
    for what, *rest in happened:
        await do(world, model, str(what), *rest)
        for name in NAMES:
            assert world.names.read(name) is model.answer(name, clock.now()), name
        if what != "jump":  # nobody wakes before the timers are served
            await clock.advance(0)
            for name in NAMES:
                assert seen[name][-1] is model.answer(name, clock.now()), name
    for task in following:
        task.cancel()
    for statuses in seen.values():
        assert all(before is not after for before, after in itertools.pairwise(statuses))


async def do(world: World, model: Model, what: str, *rest: object) -> None:
    """Let one thing happen, to the names and to the model."""
    match what, *rest:
        case "say", str(name), bool(serving), ttl:
            assert ttl is None or isinstance(ttl, float)
            world.words.say(name, serving=serving, ttl=ttl)
            model.say(name, serving, None if ttl is None else world.clock.now() + ttl)
            if name not in world.names:
                world.names.put(name, Answer(DOWN))
        case "take back", str(name):
            world.words.take_back(name)
            model.lasting.pop(name or "readiness", None)
            model.passing.pop(name or "readiness", None)
            if name == "mine":
                world.names.drop(name)
                model.checks.pop(name, None)
        case "checks", str(name), bool(up) if name != "mine":
            drained = world.names.draining and name != "liveness"
            world.names.put(name, Answer(UP if up and not drained else DOWN))
            model.checks[name] = up
        case "advance", float(seconds):
            await world.clock.advance(seconds)
        case "jump", float(seconds):
            world.clock.jump(seconds)
        case ("drain",):
            world.names.drain()
            model.draining = True
            for name in ("readiness", *FOLLOWERS, "shop.v1.Group"):
                world.names.put(name, Answer(DOWN))

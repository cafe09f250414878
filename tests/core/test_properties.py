"""What must hold for every sequence of results, silences and times, found out by chance."""

import asyncio
import itertools
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from petsage_grpc.core.check import Check, CheckFailedError
from petsage_grpc.core.check_state import CheckState, Result
from petsage_grpc.core.fold import fold_name, make_rules
from petsage_grpc.core.monitor import Monitor
from petsage_grpc.core.names import Names
from petsage_grpc.core.passive import PassiveCheck
from petsage_grpc.core.policy import Policy
from petsage_grpc.core.status import Status, Verdict
from petsage_grpc.core.units import Duration
from tests.conftest import ManualClock, settle

RULES = make_rules({"it": ["readiness", "startup"]}, {}, [])

policies = st.builds(
    Policy,
    interval=st.sampled_from([Duration(1), Duration(10)]),
    timeout=st.just(Duration(0.5)),
    edge_interval=st.just(Duration(0.5)),
    fall=st.integers(1, 5),
    rise=st.integers(1, 5),
    jitter=st.just(0.0),
)
pauses = st.one_of(st.floats(0, 12), st.floats(0, 100))
events = st.lists(st.tuples(pauses, st.booleans()), max_size=40)


@dataclass
class Past:
    """The results of a check, and what they allow to say, straight from the words of the README."""

    policy: Policy
    results: list[tuple[float, bool]] = field(default_factory=list)

    def fresh(self, now: float) -> bool:
        return bool(self.results) and now < self.results[-1][0] + self.policy.believed_for

    def last_are(self, count: int, *, passed: bool) -> bool:
        return len(self.results) >= count and all(how is passed for _, how in self.results[-count:])

    def must_be_red(self, now: float) -> bool:
        """Whether it has failed, in a row or with nothing fresh before, or is not fresh."""
        if not self.fresh(now) or self.last_are(self.policy.fall, passed=False):
            return True
        at, passed = self.results[-1]
        return not passed and not Past(self.policy, self.results[:-1]).fresh(at)

    def must_be_green(self, now: float) -> bool:
        return self.fresh(now) and self.last_are(self.policy.rise, passed=True)


@given(policies, events, pauses)
@settings(max_examples=500, deadline=None)
def test_never_serving_on_a_stale_or_failed_gate_and_serving_again_within_rise(
    policy: Policy, happened: list[tuple[float, bool]], silence: float
) -> None:
    now, state, past = 100.0, CheckState(policy, since=100.0), Past(policy)
    for pause, passed in [*happened, (silence, None)]:
        now += pause
        if passed is not None:
            state.observe(Result(passed, at=now, wall_time=now))
            past.results.append((now, passed))
        answer = fold_name(RULES["readiness"], {"it": state}, now=now, draining=False)
        if past.must_be_red(now):
            assert answer.status is Status.NOT_SERVING
        if past.must_be_green(now):
            assert answer.status is Status.SERVING
        if answer.status is Status.SERVING:
            assert now < answer.fresh_until == past.results[-1][0] + policy.believed_for


@given(policies, events)
@settings(max_examples=300, deadline=None)
def test_a_transition_is_noted_only_when_the_verdict_is_another(
    policy: Policy, happened: list[tuple[float, bool]]
) -> None:
    now, state, verdicts = 100.0, CheckState(policy, since=100.0, history=1000), [Verdict.PENDING]
    for pause, passed in happened:
        now += pause
        state.observe(Result(passed, at=now, wall_time=now))
        noted = state.note(now, now)
        if noted is not None:
            verdicts.append(noted.verdict)
    assert all(before is not after for before, after in itertools.pairwise(verdicts))
    assert [turned.verdict for turned in state.history] == verdicts[1:]


class Weather(Check):
    """A check that is as the test wants it, and notes what its runs have said."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.how = "passes"
        self.said: list[tuple[float, bool]] = []

    async def run(self) -> None:
        if self.how == "hangs":
            try:
                await asyncio.Event().wait()
            finally:
                self.said.append((self.clock.now(), False))  # it is given up: that is a result
        passed = self.how == "passes"
        self.said.append((self.clock.now(), passed))
        if not passed:
            raise CheckFailedError("rain")


class Told(PassiveCheck):
    """A passive check."""

    max_silence = 7.0


actions = st.lists(
    st.one_of(
        st.tuples(st.just("advance"), st.floats(0, 25)),
        st.tuples(st.just("jump"), st.floats(0, 60)),
        st.tuples(st.just("weather"), st.sampled_from(["passes", "fails", "hangs"])),
        st.tuples(st.just("report"), st.sampled_from(["", "broken"])),
        st.tuples(st.just("refresh"), st.just(0.0)),
    ),
    max_size=25,
)


@given(policies, actions)
@settings(max_examples=150, deadline=None)
def test_the_names_and_their_watchers_follow_whatever_happens(
    policy: Policy, happened: list[tuple[str, float | str]]
) -> None:
    asyncio.run(live_through(policy, happened))


class World:
    """A monitor of an active check that gates readiness and a passive one that gates liveness."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.clock = ManualClock()
        self.names = Names(self.clock.now)
        self.active, self.passive = Weather(self.clock), Told()
        self.monitor = Monitor(
            {"active": (self.active, policy), "passive": (self.passive, policy)},
            make_rules({"active": ["readiness"], "passive": ["liveness"]}, {}, []),
            self.names,
            self.clock,
        )
        self.heard = self.clock.now()
        self.seen: list[Status] = []

    async def follow(self) -> None:
        with self.names.watch("readiness") as watcher:
            while True:
                self.seen.append(await watcher.next())

    async def let(self, kind: str, value: float | str) -> None:
        if kind == "advance":
            await self.clock.advance(float(value))
        elif kind == "jump":
            self.clock.jump(float(value))
        elif kind == "weather":
            self.active.how = str(value)
        elif kind == "report":
            self.passive.report(str(value))
            self.heard = self.clock.now()
        else:
            waiting = asyncio.create_task(self.monitor.refresh(0))
            await self.clock.advance(self.policy.timeout)
            await waiting

    async def look(self) -> None:
        """See that what is read now is true now, whatever the timers are late with."""
        now, said, policy = self.clock.now(), self.active.said, self.policy
        ready = self.names.read("readiness")
        if not said or now >= said[-1][0] + policy.believed_for:
            assert ready is Status.NOT_SERVING
        if len(said) >= policy.fall and not any(passed for _, passed in said[-policy.fall :]):
            assert ready is Status.NOT_SERVING
        if now >= self.heard + Told.max_silence:
            assert self.names.read("liveness") is Status.NOT_SERVING
        verdicts = {check.name: check.verdict for check in self.monitor.report().checks}
        assert (verdicts["active"] is Verdict.PASSING) == (ready is Status.SERVING)
        await settle()
        assert self.seen[-1] is self.names.read("readiness")


async def live_through(policy: Policy, happened: list[tuple[str, float | str]]) -> None:
    world = World(policy)
    following = asyncio.create_task(world.follow())
    world.monitor.start()
    for kind, value in happened:
        await world.let(kind, value)
        await world.look()
    world.active.how = "passes"
    # A run that hangs is given up first; then `rise` runs that pass are enough.
    enough = policy.interval + policy.timeout + policy.rise * policy.edge_interval
    await world.clock.advance(enough)
    assert world.names.read("readiness") is Status.SERVING
    await settle()
    following.cancel()
    assert all(before is not after for before, after in itertools.pairwise(world.seen))
    await world.monitor.stop()

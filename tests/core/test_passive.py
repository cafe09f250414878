"""What is reported reaches the state: in its order, at its time, redacted, and none too often."""

import pytest

from petsage_grpc.core.fold import make_rules
from petsage_grpc.core.monitor import Monitor
from petsage_grpc.core.names import Names
from petsage_grpc.core.passive import _MOST_WAITING, PassiveCheck, Said
from petsage_grpc.core.policy import Policy
from petsage_grpc.core.status import Health, Verdict
from tests.conftest import ManualClock, settle


class Told(PassiveCheck):
    """A passive check."""

    max_silence = 5.0


class World:
    def __init__(self, clock: ManualClock, policy: Policy) -> None:
        self.check, self.names = Told(), Names(clock.now)
        rules = make_rules({"it": policy.gates}, {}, [])
        self.monitor = Monitor({"it": (self.check, policy)}, rules, self.names, clock)

    @property
    def verdict(self) -> Verdict:
        return self.monitor.report().checks[0].verdict


@pytest.fixture
def world(clock: ManualClock) -> World:
    return World(clock, Policy(fall=2, rise=3))


async def test_a_report_is_seen_at_once_by_who_asks_before_the_loop_has_turned(
    world: World,
) -> None:
    world.monitor.start()
    world.check.report()
    assert world.monitor.report().health is Health.OK


async def test_errors_are_heard_also_while_all_is_well(world: World) -> None:
    world.monitor.start()
    for _ in range(3):
        world.check.report()
        await settle()
    assert not world.check.wanted
    world.check.report("one")
    world.check.report("two")
    await settle()
    assert world.verdict is Verdict.FAILING


async def test_every_pass_counts_until_it_is_settled(world: World) -> None:
    world.monitor.start()
    world.check.report("broken")
    world.check.report("broken")
    await settle()
    assert world.check.wanted
    verdicts = []
    for _ in range(3):
        world.check.report()
        await settle()
        verdicts.append(world.verdict)
    assert verdicts == [Verdict.FAILING, Verdict.FAILING, Verdict.PASSING]


async def test_a_beat_after_silence_is_wanted(world: World, clock: ManualClock) -> None:
    world.monitor.start()
    for _ in range(3):
        world.check.report()
        await settle()
    await clock.advance(5)
    assert world.names.read("") is not None
    assert world.check.wanted


async def test_what_was_said_before_the_start_is_heard_at_the_start(
    world: World, clock: ManualClock
) -> None:
    world.check._now = clock.now
    world.check.report("broken")
    world.monitor.start()
    await settle()
    last = world.monitor.report().checks[0].last
    assert last is not None
    assert last.detail == "broken"


async def test_of_what_waits_for_the_start_so_much_is_kept_and_the_newest(world: World) -> None:
    for number in range(2 * _MOST_WAITING):
        world.check.report(f"broken {number}")
    heard = [said.error for said in world.check.news()]
    assert heard == [f"broken {number}" for number in range(_MOST_WAITING, 2 * _MOST_WAITING)]


async def test_a_report_that_comes_late_does_not_undo_a_newer_one(
    world: World, clock: ManualClock
) -> None:
    world.monitor.start()
    old = Said(clock.now(), "broken")
    await clock.advance(1)
    world.check.report()
    await settle()
    world.check._waiting.append(old)
    world.check._tell()
    await settle()
    last = world.monitor.report().checks[0].last
    assert last is not None
    assert last.passed


async def test_what_is_reported_is_redacted(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.check.hide("s3cret")
    world.monitor.start()
    world.check.report("no login with s3cret\nat all")
    await settle()
    last = world.monitor.report().checks[0].last
    assert last is not None
    assert last.detail == r"no login with ***\nat all"
    assert "s3cret" not in caplog.text


async def test_after_the_stop_nothing_is_heard(world: World) -> None:
    world.monitor.start()
    await world.monitor.stop()
    revision = world.monitor.revision
    world.check.report("broken")
    await settle()
    assert world.monitor.revision == revision

"""A heartbeat as the monitor sees it: silence is a failure, and beats from any thread lift it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from petsage_grpc.checks.heartbeat import HeartbeatCheck
from petsage_grpc.core.fold import make_rules
from petsage_grpc.core.monitor import Monitor
from petsage_grpc.core.names import Names
from petsage_grpc.core.passive import Said
from petsage_grpc.core.policy import Policy
from petsage_grpc.core.status import Status, Verdict
from petsage_grpc.core.units import Duration
from tests.conftest import ManualClock, settle

GATES = ("liveness", "readiness")


class Heart:
    """A monitor of one heartbeat, on a clock that the test moves."""

    def __init__(self, clock: ManualClock) -> None:
        self.check = HeartbeatCheck(max_silence=Duration(5))
        self.names = Names(clock.now)
        self.monitor = Monitor(
            {"heart": (self.check, Policy(gates=GATES))},
            make_rules({"heart": GATES}, {}, []),
            self.names,
            clock,
        )

    @property
    def verdict(self) -> Verdict:
        return self.monitor.report().checks[0].verdict

    @property
    def statuses(self) -> tuple[Status, Status]:
        return self.names.read("liveness"), self.names.read("readiness")


@pytest.fixture
async def heart(clock: ManualClock) -> AsyncIterator[Heart]:
    made = Heart(clock)
    yield made
    await made.monitor.stop()


ALIVE = (Status.SERVING, Status.SERVING)
DEAD = (Status.NOT_SERVING, Status.NOT_SERVING)


async def test_until_the_first_beat_is_due_it_is_alive_but_not_ready(
    heart: Heart, clock: ManualClock
) -> None:
    heart.monitor.start()
    await clock.advance(4.9)
    assert heart.statuses == (Status.SERVING, Status.NOT_SERVING)
    await clock.advance(0.1)
    assert heart.statuses == DEAD


async def test_the_first_beat_decides_at_once(heart: Heart) -> None:
    heart.monitor.start()
    heart.check.beat()
    await settle()
    assert heart.statuses == ALIVE


async def test_silence_turns_it_at_its_time_and_a_beat_turns_it_back_at_once(
    heart: Heart, clock: ManualClock
) -> None:
    heart.monitor.start()
    for _ in range(3):
        heart.check.beat()
        await clock.advance(4)
    assert heart.statuses == ALIVE
    await clock.advance(0.9)
    assert heart.statuses == ALIVE
    await clock.advance(0.1)
    assert heart.statuses == DEAD
    heart.check.beat()
    await settle()
    assert heart.statuses == ALIVE


async def test_silence_turns_it_also_when_no_timer_is_served(
    heart: Heart, clock: ManualClock
) -> None:
    heart.monitor.start()
    heart.check.beat()
    await settle()
    clock.jump(5)
    assert heart.statuses == DEAD


@pytest.mark.parametrize("asked", [True, False])
async def test_silence_in_which_the_plane_stood_still_too_is_told_when_it_is_over(
    heart: Heart, clock: ManualClock, asked: bool
) -> None:
    heart.monitor.start()
    for _ in range(3):  # it is settled then
        heart.check.beat()
        await clock.advance(0.1)
    seen = []
    with heart.names.watch("liveness") as watcher:
        seen.append(await watcher.next())
        for _ in range(2):
            clock.jump(6)
            for _ in range(2):
                heart.check.beat()
            if asked:  # before any timer is served
                assert heart.statuses == DEAD
            heart.check.beat()
            following = asyncio.create_task(watcher.next())
            await clock.advance(0)
            seen += [await following, await watcher.next()]
            assert heart.statuses == ALIVE
            for _ in range(3):
                heart.check.beat()
                await clock.advance(0.1)
    assert seen == [Status.SERVING, *(2 * [Status.NOT_SERVING, Status.SERVING])]
    told = [turned.verdict for turned in heart.monitor.report().checks[0].history]
    assert told == [Verdict.PASSING, *(2 * [Verdict.STALE, Verdict.PASSING])]
    assert not heart.check.broke_silence()


async def test_silence_that_ends_while_the_monitor_looks_is_told_too(
    heart: Heart, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    heart.monitor.start()
    for _ in range(3):  # it is settled then
        heart.check.beat()
        await clock.advance(0.1)
    look = heart.check.news

    def late() -> Iterator[Said]:
        monkeypatch.undo()
        clock.jump(6)
        heart.check.beat()
        return look()

    monkeypatch.setattr(heart.check, "news", late)
    assert heart.verdict is Verdict.STALE
    assert heart.statuses == DEAD
    await clock.advance(0)
    assert heart.statuses == ALIVE
    told = [turned.verdict for turned in heart.monitor.report().checks[0].history]
    assert told == [Verdict.PASSING, Verdict.STALE, Verdict.PASSING]


async def test_a_plane_that_stood_still_while_it_was_beaten_tells_of_no_silence(
    heart: Heart, clock: ManualClock
) -> None:
    heart.monitor.start()
    for _ in range(4):
        heart.check.beat()
        clock.jump(4)
    assert heart.statuses == ALIVE
    await clock.advance(0)
    assert [turned.verdict for turned in heart.monitor.report().checks[0].history] == [
        Verdict.PASSING
    ]


async def test_a_watcher_sees_silence_and_the_beat_after_it_and_nothing_between(
    heart: Heart, clock: ManualClock
) -> None:
    heart.monitor.start()
    heart.check.beat()
    await settle()
    seen = []
    with heart.names.watch("liveness") as watcher:

        async def follow() -> None:
            while True:
                seen.append(await watcher.next())

        following = asyncio.create_task(follow())
        for _ in range(20):
            heart.check.beat()
            await clock.advance(1)
        await clock.advance(10)
        heart.check.beat()
        await clock.advance(1)
        following.cancel()
    assert seen == [Status.SERVING, Status.NOT_SERVING, Status.SERVING]


async def test_while_all_is_well_a_beat_only_writes_to_memory(heart: Heart) -> None:
    heart.monitor.start()
    for _ in range(2):
        heart.check.beat()
        await settle()
    revision = heart.monitor.revision
    for _ in range(1000):
        heart.check.beat()
    await settle()
    assert heart.monitor.revision == revision


async def test_beats_of_another_thread_are_heard(heart: Heart, clock: ManualClock) -> None:
    heart.monitor.start()
    await clock.advance(6)
    assert heart.statuses == DEAD
    beating = threading.Thread(target=heart.check.beat)
    beating.start()
    await asyncio.to_thread(beating.join)
    await settle()
    assert heart.statuses == ALIVE


async def test_a_reported_error_is_a_failure_and_falls_like_any_other(
    heart: Heart, clock: ManualClock
) -> None:
    heart.monitor.start()
    heart.check.beat()
    await settle()
    verdicts = []
    for number in range(3):
        heart.check.report(f"broken {number}")
        await settle()
        verdicts.append(heart.verdict)
    assert verdicts == [Verdict.PASSING, Verdict.PASSING, Verdict.FAILING]
    last = heart.monitor.report().checks[0].last
    assert last is not None
    assert (last.message, last.detail) == ("reported as failing", "broken 2")
    for _ in range(2):
        await clock.advance(0.1)
        heart.check.beat()
        await settle()
    assert heart.verdict is Verdict.PASSING


async def test_a_thread_that_reports_without_pause_does_not_fill_the_memory(heart: Heart) -> None:
    heart.monitor.start()
    for _ in range(10_000):
        heart.check.report("broken")
    assert len(heart.check._waiting) <= 32
    await settle()
    assert heart.verdict is Verdict.FAILING


async def test_a_refresh_does_not_wait_for_what_nobody_can_run(heart: Heart) -> None:
    heart.monitor.start()
    await asyncio.wait_for(heart.monitor.refresh(0), 1)


def test_a_beat_after_the_loop_has_closed_says_nothing(clock: ManualClock) -> None:
    async def live() -> HeartbeatCheck:
        heart = Heart(clock)
        heart.monitor.start()
        await heart.monitor.stop()
        return heart.check

    check = asyncio.run(live())
    check.beat()
    check.report("broken")


def test_no_silence_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^max_silence must be longer than 0, and end"):
        HeartbeatCheck(max_silence=Duration(0))

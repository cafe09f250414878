"""Heartbeats as the application holds them: by hand, by its loop, through its pool, by a worker."""

import asyncio
import ctypes
import itertools
import threading
from typing import Any

import pytest

from petsage_grpc import HealthPlane
from petsage_grpc.checks.heartbeat import HeartbeatCheck
from petsage_grpc.core.fold import make_rules
from petsage_grpc.core.monitor import Monitor
from petsage_grpc.core.names import Names
from petsage_grpc.core.passive import PassiveCheck
from petsage_grpc.core.policy import Policy
from petsage_grpc.core.status import Status as Told
from petsage_grpc.core.status import Verdict
from petsage_grpc.core.units import Duration
from petsage_grpc.plane.heartbeats import Heartbeat, beat_by_loop
from petsage_grpc.plane.loop_host import LoopHost
from petsage_grpc.plane.plane import Plane
from petsage_grpc.settings_load import load_settings
from tests.conftest import ManualClock, settle
from tests.plane.asking import Asking, Status
from tests.processes import PATIENCE


def make_check() -> HeartbeatCheck:
    return HeartbeatCheck(max_silence=Duration(5))


class Heart:
    """A monitor of one heartbeat, on a clock that the test moves; it can be begun anew."""

    def __init__(self, clock: ManualClock, check: PassiveCheck) -> None:
        self.names = Names(clock.now)
        gates = ("readiness", "liveness")
        self.monitor = Monitor(
            {"heart": (check, Policy(gates=gates))}, make_rules({"heart": gates}, {}, []),
            self.names, clock,
        )  # fmt: skip
        check._now = clock.now
        self.monitor.start()

    @property
    def verdict(self) -> Verdict:
        return self.monitor.report().checks[0].verdict

    @property
    def ready(self) -> bool:
        return self.names.read("readiness") is Told.SERVING


async def test_a_beat_before_the_start_counts(clock: ManualClock) -> None:
    check = make_check()
    check._now = clock.now
    check.beat()
    clock.jump(4)
    heart = Heart(clock, check)
    await settle()
    assert heart.ready
    await clock.advance(1)
    assert heart.verdict is Verdict.STALE


async def test_a_beat_before_another_cell_is_used_counts_too(clock: ManualClock) -> None:
    check, cell = make_check(), [0.0, 0.0]
    check._now = clock.now
    check.beat()
    check.keep_in(cell)
    assert cell[0] == clock.now()
    heart = Heart(clock, check)
    await settle()
    assert heart.ready
    clock.jump(1)
    check.beat()
    assert cell[0] == clock.now()


async def test_a_cell_that_another_process_has_beaten_in_later_keeps_its_beat(
    clock: ManualClock,
) -> None:
    check, cell = make_check(), [clock.now() + 3, 0.0]
    check._now = clock.now
    check.beat()
    check.keep_in(cell)
    assert cell[0] == clock.now() + 3


@pytest.mark.parametrize("first", ["beat", "failure"])
async def test_a_beat_and_a_failure_are_taken_in_their_order(
    clock: ManualClock, first: str
) -> None:
    check = make_check()
    heart = Heart(clock, check)
    for what in (first, "failure" if first == "beat" else "beat"):
        clock.jump(1)
        if what == "beat":
            check.beat()
        else:
            check.report("broken")
    await settle()
    last = heart.monitor.report().checks[0].last
    assert last is not None
    assert last.passed is (first == "failure")


async def test_in_a_second_life_it_is_ready_with_the_next_beat(clock: ManualClock) -> None:
    check = make_check()
    heart = Heart(clock, check)
    for _ in range(3):
        clock.jump(0.1)
        check.beat()
        await settle()
    assert not check.wanted, "it has settled, and tells nobody any more"
    await heart.monitor.stop()
    clock.jump(100)
    again = Heart(clock, check)
    await clock.advance(0)
    assert not again.ready
    check.beat()
    await settle()
    assert again.ready


async def test_in_a_second_life_the_last_beat_still_counts(clock: ManualClock) -> None:
    check = make_check()
    heart = Heart(clock, check)
    check.beat()
    await settle()
    await heart.monitor.stop()
    clock.jump(2)
    again = Heart(clock, check)
    await settle()
    assert again.ready


class Reported(PassiveCheck):
    """A passive check of another kind."""

    max_silence = 5.0


async def settled_life(clock: ManualClock, check: Reported) -> None:
    """Let it pass until nobody wants to hear of that any more, and end this life."""
    heart = Heart(clock, check)
    for _ in range(3):
        clock.jump(0.1)
        check.report()
        await settle()
    assert not check.wanted
    assert heart.verdict is Verdict.PASSING, "who asks has the last one looked at"
    await heart.monitor.stop()


async def test_in_a_second_life_a_report_is_heard_at_once(clock: ManualClock) -> None:
    check = Reported()
    await settled_life(clock, check)
    check.newest = None
    again = Heart(clock, check)
    await settle()
    assert not again.ready
    check.report()
    await settle()
    assert again.ready


async def test_in_a_second_life_the_last_report_still_counts(clock: ManualClock) -> None:
    check = Reported()
    await settled_life(clock, check)
    again = Heart(clock, check)
    assert again.verdict is Verdict.PASSING
    await again.monitor.stop()


def test_a_worker_beats_before_each_item_and_at_the_end() -> None:
    check = make_check()
    beat, ticks = Heartbeat("worker", check), iter(range(1, 100))
    check._now = lambda: float(next(ticks))
    assert list(beat.over([])) == []
    assert check._cell[0] == 2
    seen = [(item, check._cell[0]) for item in beat.over("abc")]
    assert seen == [("a", 4), ("b", 5), ("c", 6)]
    assert check._cell[0] == 7


def test_it_raises_nothing_and_says_what_it_is() -> None:
    beat = Heartbeat("worker", make_check())
    beat()
    beat.fail("broken")
    beat.fail("")
    assert repr(beat) == "<Heartbeat 'worker', at least every 5 s>"
    assert beat.pause == 1


async def test_a_loop_beats_by_itself_until_it_ends() -> None:
    check = HeartbeatCheck(max_silence=Duration(0.01))
    beats: list[float] = []

    def note() -> float:
        beats.append(1.0)
        return 1.0

    check._now = note
    loop = asyncio.new_event_loop()
    beat_by_loop(Heartbeat("loop", check), loop)
    running = threading.Thread(target=loop.run_forever)
    running.start()
    async with asyncio.timeout(PATIENCE):
        while len(beats) < 3:
            await asyncio.sleep(0)
    loop.call_soon_threadsafe(loop.stop)
    await asyncio.to_thread(running.join)
    loop.close()


async def test_a_call_that_raises_is_made_again(clock: ManualClock) -> None:
    host, calls = LoopHost(), itertools.count(1)
    host.connect(Plane(load_settings(environ={}, checks={}), clock))

    def call() -> None:
        if next(calls) == 1:
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 -- it has no words
        host.every(1.0, call)
    await clock.advance(2.0)
    assert next(calls) == 4


def test_a_blocked_loop_is_seen_in_liveness_and_forgiven(plane: HealthPlane) -> None:
    begun, free, ended = threading.Event(), threading.Event(), threading.Event()

    async def live() -> None:
        plane.loop_heartbeat(max_silence=0.2)
        await asyncio.to_thread(begun.wait)
        free.wait(PATIENCE)  # what nobody should do
        await asyncio.to_thread(ended.wait)

    running = threading.Thread(target=lambda: asyncio.run(live()))
    running.start()
    with Asking(plane.address) as asking:
        asking.becomes(Status.SERVING)
        begun.set()
        asking.becomes(Status.NOT_SERVING, "liveness")
        free.set()
        asking.becomes(Status.SERVING, "liveness")
        asking.becomes(Status.SERVING)
        ended.set()
        running.join(PATIENCE)
        asking.becomes(Status.NOT_SERVING, "liveness")


def test_a_held_interpreter_is_told_although_all_is_well_when_it_is_over(
    plane: HealthPlane,
) -> None:
    beat, ended = plane.heartbeat("worker", max_silence=1.0), threading.Event()

    def work() -> None:
        while not ended.wait(0.05):
            beat()

    beat()
    running = threading.Thread(target=work, daemon=True)  # it may not hold up the end of a failure
    running.start()
    with Asking(plane.address) as asking, asking.watching("liveness") as statuses:
        asking.becomes(Status.SERVING)
        assert next(statuses) == Status.SERVING
        ctypes.PyDLL(None).usleep(1_500_000)  # with the interpreter's lock
        assert [next(statuses), next(statuses)] == [Status.NOT_SERVING, Status.SERVING]
    ended.set()
    running.join(PATIENCE)


def test_one_that_fails_says_why_and_a_beat_mends_it(plane: HealthPlane) -> None:
    beat = plane.heartbeat("worker", max_silence=PATIENCE)
    with Asking(plane.address) as asking:
        beat()
        asking.becomes(Status.SERVING)
        beat.fail("no paper")
        asking.becomes(Status.NOT_SERVING)
        beat()
        asking.becomes(Status.SERVING)


class Unspeakable(Exception):  # noqa: N818 -- it is somebody else's
    """An exception that can not be shown."""

    def __str__(self) -> str:
        raise SystemExit


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (ValueError("boom"), "boom"),
        (ValueError(), "ValueError"),
        (Unspeakable(), "Unspeakable"),
        ("", "it does not work"),
        (None, "it does not work"),
        ("x" * 2_000_000, "x" * 1_000 + "…"),
        ("no\npaper", r"no\npaper"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_whatever_says_why_it_fails_it_is_told_in_a_line(
    clock: ManualClock, reason: Any, told: str
) -> None:
    check = make_check()
    heart = Heart(clock, check)
    Heartbeat("worker", check).fail(reason)
    assert check.newest is not None
    assert type(check.newest.error) is str
    await settle()
    last = heart.monitor.report().checks[0].last
    assert last is not None
    assert last.detail == told


@pytest.mark.parametrize("made_by", ["code", "settings"])
def test_if_nothing_else_is_said_one_word_turns_it(made_by: str) -> None:
    table = {"worker": {"kind": "heartbeat"}} if made_by == "settings" else {}
    plane = HealthPlane.from_settings(listen="127.0.0.1:0", checks=table)
    plane.heartbeat("worker")
    policy = {**plane.checks, **plane.settings.checks}["worker"].policy
    assert (policy.fall, policy.rise) == (1, 1)
    assert policy.gates == ("readiness", "liveness", "startup")
    other = plane.heartbeat("other", fall=2)
    policy = plane.checks[other.name].policy
    assert (policy.fall, policy.rise) == (2, 1)

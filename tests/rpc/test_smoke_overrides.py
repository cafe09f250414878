"""SmokeTest tells what is said of the names, on a clock moved by hand: as long as it holds."""

from collections.abc import AsyncIterator

import pytest

from petsage_grpc.core.check import Check, CheckFailedError
from petsage_grpc.core.fold import make_rules
from petsage_grpc.core.monitor import Monitor
from petsage_grpc.core.names import Names
from petsage_grpc.core.policy import Policy
from petsage_grpc.core.words import Words
from petsage_grpc.rpc import stubs as pb
from petsage_grpc.rpc.smoke_test import SmokeTestServicer
from tests.conftest import ManualClock, settle

WELL = "All is well."


class Switch(Check):
    """A check that fails when the test says so."""

    failing = False

    async def run(self) -> None:
        if self.failing:
            raise CheckFailedError("broken")


class Bench:
    """A servicer over one check and what is said of the names, asked without a wire between."""

    def __init__(self, clock: ManualClock, *, with_details: bool = False) -> None:
        self.check, self.words = Switch(), Words(clock)
        self.monitor = Monitor(
            {"db": (self.check, Policy())}, make_rules({"db": ["readiness"]}, {}, []),
            Names(clock.now, self.words), clock, words=self.words, spread=lambda: 0.0,
        )  # fmt: skip
        self.servicer = SmokeTestServicer(
            self.monitor, clock, message=WELL, version="1", instance="i",
            with_details=with_details, redact=self.check.redact,
        )  # fmt: skip
        self.monitor.start()

    async def ask(self) -> pb.SmokeTestResponse:
        raw = await self.servicer._smoke_test(b"", None)  # type: ignore[arg-type]
        return pb.SmokeTestResponse.FromString(raw)


@pytest.fixture
async def bench(clock: ManualClock) -> AsyncIterator[Bench]:
    made = Bench(clock)
    await settle()
    yield made
    await made.monitor.stop()


async def test_nothing_is_told_where_nothing_is_said(bench: Bench) -> None:
    answer = await bench.ask()
    assert (answer.status, list(answer.overrides)) == (pb.STATUS_OK, [])


async def test_what_is_said_is_told_with_what_it_stands_over_and_its_times(
    bench: Bench, clock: ManualClock
) -> None:
    bench.words.say("", serving=False, reason="migrating", ttl=60)
    bench.words.say("mine", serving=True)
    answer = await bench.ask()
    assert answer.status == pb.STATUS_FAILING
    assert answer.message == 'PetSage Backend is not well: "readiness" is set NOT_SERVING.'
    told = {override.name: override for override in answer.overrides}
    readiness, mine = told["readiness"], told["mine"]
    assert (readiness.serving, readiness.serving_by_checks) == (False, True)
    assert readiness.set_at.ToNanoseconds() == round(clock.wall_time() * 1e9)
    assert readiness.expires_at.seconds - readiness.set_at.seconds == 60
    assert (mine.serving, mine.HasField("serving_by_checks")) == (True, False)
    assert not mine.HasField("expires_at")


@pytest.mark.parametrize(("with_details", "told"), [(False, ""), (True, "migrating")])
async def test_why_is_told_to_authorised_callers_alone(
    clock: ManualClock, with_details: bool, told: str
) -> None:
    bench = Bench(clock, with_details=with_details)
    bench.words.say("mine", serving=False, reason="migrating")
    answer = await bench.ask()
    assert [override.reason for override in answer.overrides] == [told]
    assert "migrating" not in answer.message
    await bench.monitor.stop()


async def test_what_a_check_hides_is_in_no_reason(clock: ManualClock) -> None:
    bench = Bench(clock, with_details=True)
    bench.check.hide("hunter2")
    bench.words.say("mine", serving=False, reason="the login hunter2 has run out")
    (told,) = (await bench.ask()).overrides
    assert told.reason == "the login *** has run out"
    await bench.monitor.stop()


async def test_an_answer_is_kept_no_longer_than_what_is_said_holds(
    bench: Bench, clock: ManualClock
) -> None:
    bench.words.say("readiness", serving=False, ttl=5)
    for status, told in ((pb.STATUS_FAILING, 1), (pb.STATUS_OK, 0)):
        answer = await bench.ask()
        assert (answer.status, len(answer.overrides)) == (status, told)
        clock.jump(5)  # and no timer is served


async def test_an_answer_is_not_kept_when_something_is_said_or_taken_back(bench: Bench) -> None:
    for serving, status in ((False, pb.STATUS_FAILING), (True, pb.STATUS_OK)):
        bench.words.say("mine", serving=serving)
        assert (await bench.ask()).status == status
    bench.words.take_back("mine")
    assert not (await bench.ask()).overrides


async def test_a_failing_check_is_told_though_a_word_stands_over_it(
    bench: Bench, clock: ManualClock
) -> None:
    bench.check.failing = True
    await clock.advance(12)
    bench.words.say("readiness", serving=True, ttl=60)
    answer = await bench.ask()
    assert answer.status == pb.STATUS_FAILING
    assert answer.message == "PetSage Backend is not well: db."
    assert [(o.serving, o.serving_by_checks) for o in answer.overrides] == [(True, False)]


async def test_of_many_names_only_some_are_named(bench: Bench) -> None:
    for number in range(12):
        bench.words.say(f"n{number}", serving=False)
    answer = await bench.ask()
    assert answer.message.endswith('"n9" is set NOT_SERVING and 2 more.')
    assert len(answer.overrides) == 12

"""SmokeTest of one feature, on a clock moved by hand: its own message, checks and memory."""

from collections.abc import AsyncIterator, Iterable

import grpc
import pytest

from petsage_grpc.core.check import Check, CheckFailedError
from petsage_grpc.core.fold import make_rules
from petsage_grpc.core.monitor import Monitor
from petsage_grpc.core.names import Names
from petsage_grpc.core.policy import Policy
from petsage_grpc.core.report import Report
from petsage_grpc.rpc import stubs as pb
from petsage_grpc.rpc.smoke_test import FeatureTold, SmokeTestServicer
from tests.conftest import ManualClock, settle

FEATURES = {
    "toys": FeatureTold("Toys squeak.", ("toys", "shared")),
    "naps": FeatureTold("Naps are taken.", ("bed", "shared")),
    "idle": FeatureTold("Nothing to do.", ()),
}
GATES = {"bed": ("readiness",), "toys": (), "shared": ()}


class Switch(Check):
    """A check that fails when the test says so, and counts its runs."""

    failing = False
    runs = 0

    async def run(self) -> None:
        self.runs += 1
        if self.failing:
            raise CheckFailedError("broken")


class AbortedError(Exception):
    """What ends a call."""


class Context:
    """The context of a call without a wire."""

    async def abort(self, code: grpc.StatusCode, details: str = "") -> None:
        raise AbortedError(code.name, details)


class Bench:
    """A servicer over three checks and three features."""

    def __init__(self, clock: ManualClock) -> None:
        self.checks = {name: Switch() for name in GATES}
        self.monitor = Monitor(
            {name: (self.checks[name], Policy(gates=gates)) for name, gates in GATES.items()},
            make_rules(GATES, {}, []),
            Names(clock.now),
            clock,
            spread=lambda: 0.0,
        )
        self.servicer = SmokeTestServicer(
            self.monitor, clock, message="All is well.", version="1", instance="i",
            with_details=False, features=FEATURES,
        )  # fmt: skip

    async def raw(self, feature: str = "", *checks: str) -> bytes:
        request = pb.SmokeTestRequest(feature=feature, checks=checks)
        return await self.servicer._smoke_test(request.SerializeToString(), Context())  # type: ignore[arg-type]

    async def ask(self, feature: str = "", *checks: str) -> pb.SmokeTestResponse:
        return pb.SmokeTestResponse.FromString(await self.raw(feature, *checks))

    async def refusal(self, feature: str, *checks: str) -> tuple[str, str]:
        with pytest.raises(AbortedError) as caught:
            await self.raw(feature, *checks)
        code, details = caught.value.args
        return code, details


@pytest.fixture
async def bench(clock: ManualClock) -> AsyncIterator[Bench]:
    made = Bench(clock)
    made.monitor.start()
    await settle()
    yield made
    await made.monitor.stop()


@pytest.mark.parametrize(
    ("feature", "message", "checks"),
    [
        ("toys", "Toys squeak.", ["toys", "shared"]),
        ("naps", "Naps are taken.", ["bed", "shared"]),
        ("idle", "Nothing to do.", []),
        ("smoke_test", "All is well.", ["bed", "toys", "shared"]),
    ],
)
async def test_each_feature_has_its_message_and_checks(
    bench: Bench, feature: str, message: str, checks: list[str]
) -> None:
    answer = await bench.ask(feature)
    assert (answer.status, answer.feature, answer.message) == (pb.STATUS_OK, feature, message)
    assert [check.name for check in answer.checks] == checks
    assert list(answer.features) == ["idle", "naps", "toys"]


async def test_only_its_own_checks_count(bench: Bench, clock: ManualClock) -> None:
    bench.checks["bed"].failing = True
    await clock.advance(12)
    assert (await bench.ask("toys")).status == pb.STATUS_OK
    answer = await bench.ask("naps")
    assert answer.status == pb.STATUS_FAILING
    assert answer.message == "The feature naps is not well: bed."
    assert (await bench.ask()).status == pb.STATUS_FAILING


async def test_a_check_that_gates_nothing_degrades_the_feature(
    bench: Bench, clock: ManualClock
) -> None:
    bench.checks["shared"].failing = True
    await clock.advance(12)
    for feature in ("naps", "toys"):
        answer = await bench.ask(feature)
        assert answer.status == pb.STATUS_DEGRADED
        assert answer.message == f"The feature {feature} works, but not all is well: shared."


async def test_an_answer_is_kept_for_each_feature_until_something_happens(
    bench: Bench, clock: ManualClock
) -> None:
    reports: list[Iterable[str] | None] = []
    report = bench.monitor.report

    def spy(names: Iterable[str] | None = None) -> Report:
        reports.append(names)
        return report(names)

    bench.monitor.report = spy  # type: ignore[method-assign]
    for _ in range(3):
        for feature in ("naps", "toys", ""):
            await bench.ask(feature)
    assert [names for names in reports if names != ()] == [
        ("bed", "shared"), ("toys", "shared"), None,
    ]  # fmt: skip
    bench.checks["bed"].failing = True
    await clock.advance(12)
    assert (await bench.ask("naps")).status == pb.STATUS_FAILING


async def test_some_checks_of_a_feature_can_be_asked_for(bench: Bench) -> None:
    answer = await bench.ask("naps", "shared")
    assert (answer.feature, [check.name for check in answer.checks]) == ("naps", ["shared"])


async def test_max_age_runs_the_checks_of_the_feature_alone(
    bench: Bench, clock: ManualClock
) -> None:
    clock.jump(5)
    request = pb.SmokeTestRequest(feature="naps")
    request.max_age.SetInParent()
    await bench.servicer._smoke_test(request.SerializeToString(), Context())  # type: ignore[arg-type]
    assert {name: check.runs for name, check in bench.checks.items()} == {
        "bed": 2, "toys": 1, "shared": 2,
    }  # fmt: skip


async def test_a_drain_is_told_of_a_feature_as_well(bench: Bench) -> None:
    bench.monitor.drain()
    answer = await bench.ask("toys")
    assert answer.status == pb.STATUS_DEGRADED
    assert answer.message == "PetSage Backend is shutting down."


async def test_an_unknown_feature_is_told_what_there_is(bench: Bench) -> None:
    assert await bench.refusal("toy") == (
        "NOT_FOUND", 'unknown feature "toy"; there are "smoke_test", "idle", "naps", "toys"',
    )  # fmt: skip


async def test_a_check_that_is_not_the_feature_s_is_not_found(bench: Bench) -> None:
    wanted = ("NOT_FOUND", 'feature "toys" has no check "bed"')
    assert await bench.refusal("toys", "shared", "bed") == wanted
    assert await bench.refusal("idle", "x") == ("NOT_FOUND", 'feature "idle" has no check "x"')
    assert await bench.refusal("smoke_test", "x") == ("NOT_FOUND", 'unknown check "x"')

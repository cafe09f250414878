"""A check that joins while the monitor runs: it counts at once, like any other."""

import asyncio

from petsage_grpc.checks.heartbeat import HeartbeatCheck
from petsage_grpc.core.check import Check
from petsage_grpc.core.fold import make_rules
from petsage_grpc.core.policy import Policy
from petsage_grpc.core.status import Status, Verdict
from petsage_grpc.core.units import Duration
from tests.conftest import ManualClock, settle
from tests.core.conftest import Bench, BenchMaker, Scripted

UP, DOWN = Status.SERVING, Status.NOT_SERVING


async def ready_bench(bench_of: BenchMaker) -> Bench:
    bench = bench_of()
    bench.monitor.start()
    await settle()
    assert bench.ready
    return bench


def join(bench: Bench, check: Check, *gates: str) -> None:
    policy = Policy(gates=gates)
    rules = make_rules({"it": Policy().gates, "new": gates}, {}, [])
    bench.monitor.add("new", check, policy, rules)


async def test_readiness_waits_for_its_first_result_and_watchers_learn_of_it(
    bench_of: BenchMaker,
) -> None:
    bench, check, seen = await ready_bench(bench_of), Scripted(), []
    check.gate = asyncio.Event()

    async def follow() -> None:
        with bench.names.watch("readiness") as watcher:
            while True:
                seen.append(await watcher.next())

    following = asyncio.create_task(follow())
    await settle()
    join(bench, check, "readiness")
    assert bench.names.read("") is bench.names.read("readiness") is DOWN, "before any loop turn"
    await settle()
    check.gate.set()
    await settle()
    following.cancel()
    assert seen == [UP, DOWN, UP]
    assert bench.ready


async def test_a_name_that_it_does_not_gate_stays_as_it_is(bench_of: BenchMaker) -> None:
    bench, check = await ready_bench(bench_of), Scripted()
    check.error = ValueError("broken")
    join(bench, check)
    await settle()
    assert bench.ready
    assert bench.monitor.report(["new"]).checks[0].verdict is Verdict.FAILING


async def test_it_is_reported_refreshed_scheduled_and_closed(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench, check = await ready_bench(bench_of), Scripted()
    before = bench.monitor.report()
    join(bench, check, "readiness")
    assert not bench.monitor.is_current(before)
    assert [told.name for told in bench.monitor.report().checks] == ["it", "new"]
    await settle()
    assert check.runs == 1
    await clock.advance(5)
    scheduled = check.runs
    assert scheduled > 1
    await bench.monitor.refresh(0)
    assert check.runs == scheduled + 1
    await bench.monitor.stop()
    assert check.closed == 1


async def test_in_a_drain_it_brings_nothing_back(bench_of: BenchMaker) -> None:
    bench = await ready_bench(bench_of)
    bench.monitor.drain()
    join(bench, Scripted(), "readiness")
    await settle()
    assert not bench.ready


async def test_a_heartbeat_that_joins_does_not_take_liveness_down_before_its_time(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench, check = await ready_bench(bench_of), HeartbeatCheck(max_silence=Duration(5))
    join(bench, check, "readiness", "liveness")
    assert (bench.names.read("liveness"), bench.ready) == (UP, False)
    check.beat()
    await settle()
    assert bench.ready
    await clock.advance(5)
    assert (bench.names.read("liveness"), bench.ready) == (DOWN, False)


async def test_a_heartbeat_that_beat_before_it_joined_is_ready_at_once(
    bench_of: BenchMaker, clock: ManualClock
) -> None:
    bench, check = await ready_bench(bench_of), HeartbeatCheck(max_silence=Duration(5))
    check._now = clock.now
    check.beat()
    join(bench, check, "readiness", "liveness")
    await settle()
    assert bench.ready

"""The Watch beside the runs: a change asks for a run at once, and Watch can be had or not."""

import asyncio
import random

import grpc
import pytest

from petsage_grpc.checks import grpc as module
from tests import faults
from tests.checks.grpc.conftest import (
    CHECK,
    WATCH,
    Downstream,
    Heard,
    MakeCheck,
    Stock,
    failure,
    leftovers,
)
from tests.processes import PATIENCE


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a Watch that has ended be made anew soon."""
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.01)


async def test_a_change_asks_for_a_run_at_once(
    make: MakeCheck, downstream: Downstream, heard: Heard
) -> None:
    check = make(downstream.address, service="orders")
    check.run_soon = heard
    await check.run()
    await downstream.watched()
    downstream.answer = "NOT_SERVING"
    downstream.changes.put_nowait("NOT_SERVING")
    await heard.wait()
    assert "says that" in await failure(check)
    downstream.answer = "SERVING"
    downstream.changes.put_nowait("SERVING")
    await heard.wait(2)
    await check.run()
    assert downstream.count(WATCH) == 1


async def test_what_the_run_knows_already_asks_for_nothing(
    make: MakeCheck, downstream: Downstream, heard: Heard
) -> None:
    check = make(downstream.address)
    check.run_soon = heard
    await check.run()
    await check.run()
    for status in ("SERVING", "SERVING", "NOT_SERVING"):
        downstream.changes.put_nowait(status)
    await heard.wait()
    assert heard.times == 1
    assert downstream.count(CHECK) == 2


async def test_a_lost_server_and_one_that_is_back_ask_for_a_run(
    make: MakeCheck, stock: Stock, heard: Heard
) -> None:
    check = make(stock.address)
    check.run_soon = heard
    await check.run()
    async with asyncio.timeout(PATIENCE):  # the kill must not come before the Watch is there
        stock.set("NOT_SERVING")
        await heard.wait()
    stock.kill()
    await heard.wait(2)
    assert "refuses connections" in await failure(check)
    stock.revive()
    await heard.wait(3)
    await check.run()


async def test_a_service_that_is_registered_later_asks_for_a_run(
    make: MakeCheck, stock: Stock, heard: Heard
) -> None:
    check = make(stock.address, service="shop.Later")
    check.run_soon = heard
    assert "does not know the service" in await failure(check)
    stock.set("SERVING", "shop.Later")
    await heard.wait()
    await check.run()


async def test_a_server_without_watch_is_not_asked_for_it_again(
    make: MakeCheck, downstream: Downstream, heard: Heard, hurried: None
) -> None:
    downstream.watchable = False
    check = make(downstream.address)
    check.run_soon = heard
    await check.run()
    await downstream.watched()
    async with asyncio.timeout(PATIENCE):
        while leftovers():
            await asyncio.sleep(0)
    for _ in range(3):
        await check.run()
    assert not leftovers()
    assert downstream.count(WATCH) == 1
    assert not heard.times


async def test_no_watch_is_made_where_none_is_wanted(
    make: MakeCheck, downstream: Downstream
) -> None:
    check = make(downstream.address, watch=False)
    await check.run()
    await check.run()
    assert not leftovers()
    assert downstream.count(WATCH) == 0


async def test_a_server_without_a_health_service_is_not_asked_to_watch(
    make: MakeCheck, downstream: Downstream
) -> None:
    downstream.answer = grpc.StatusCode.UNIMPLEMENTED
    await failure(make(downstream.address))
    assert not leftovers()


async def test_a_watch_that_ends_is_made_anew_and_asks_for_one_run(
    make: MakeCheck, downstream: Downstream, heard: Heard, hurried: None
) -> None:
    check = make(downstream.address)
    check.run_soon = heard
    await check.run()
    downstream.changes.put_nowait(grpc.StatusCode.UNAVAILABLE)
    await downstream.watched(2)
    assert heard.times == 1
    downstream.changes.put_nowait("NOT_SERVING")
    await heard.wait(2)


async def test_a_watch_that_never_says_anything_asks_for_no_run(
    make: MakeCheck, downstream: Downstream, heard: Heard, hurried: None
) -> None:
    downstream.greets = False
    check = make(downstream.address)
    check.run_soon = heard
    await check.run()
    for _ in range(3):
        downstream.changes.put_nowait(grpc.StatusCode.RESOURCE_EXHAUSTED)
    await downstream.watched(4)
    assert not heard.times


async def test_a_watch_that_always_ends_is_made_more_and_more_seldom(
    make: MakeCheck, downstream: Downstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    pause = asyncio.sleep

    async def noted(seconds: float) -> None:
        pauses.append(seconds)
        await pause(0)

    monkeypatch.setattr(asyncio, "sleep", noted)
    downstream.greets = False
    check = make(downstream.address)
    await check.run()
    for _ in range(12):
        downstream.changes.put_nowait(grpc.StatusCode.INTERNAL)
    await downstream.watched(13)
    wanted = [0.5, 1, 2, 4, 8, 16, *[30] * 6]
    assert [most / 2 <= pause <= most for pause, most in zip(pauses, wanted, strict=True)] == [
        True
    ] * 12
    assert len(set(pauses)) == 12, "by chance, so that many do not come together"


async def test_a_watch_that_has_lasted_is_made_anew_soon(
    make: MakeCheck, downstream: Downstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    pause = asyncio.sleep

    async def noted(seconds: float) -> None:
        pauses.append(seconds)
        await pause(0)

    monkeypatch.setattr(asyncio, "sleep", noted)
    downstream.greets = False
    check = make(downstream.address)
    await check.run()
    before = random.getstate()
    for _ in range(5):
        downstream.changes.put_nowait(grpc.StatusCode.INTERNAL)
    await downstream.watched(6)
    assert random.getstate() == before, "the chance of the application is not the check's"
    assert pauses[-1] >= 4
    monkeypatch.setattr(module, "_LAST_PAUSE", 0.0)  # any time is long then
    downstream.changes.put_nowait(grpc.StatusCode.INTERNAL)
    await downstream.watched(7)
    assert pauses[-1] <= 0.5


async def test_a_watch_waits_for_a_server_that_is_not_there(
    make: MakeCheck, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE", 10 * PATIENCE)
    with faults.refused() as port:
        check = make(port)
        check.run_soon = heard
        await failure(check)
    async with Downstream().serving(f"{faults.HOST}:{port}"):
        await heard.wait()
        await check.run()


async def test_a_server_that_sends_without_end_is_read_slowly(
    make: MakeCheck, downstream: Downstream, heard: Heard
) -> None:
    check = make(downstream.address)
    check.run_soon = heard
    await check.run()
    for number in range(1000):
        downstream.changes.put_nowait(("NOT_SERVING", "SERVING")[number % 2])
    await heard.wait()
    started = asyncio.get_running_loop().time()
    await heard.wait(5)
    assert asyncio.get_running_loop().time() - started > 0.3


async def test_what_is_no_answer_in_a_watch_is_borne(
    make: MakeCheck,
    downstream: Downstream,
    heard: Heard,
    hurried: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    check = make(downstream.address)
    check.run_soon = heard
    await check.run()
    downstream.answer = b"\xff\xff"
    downstream.changes.put_nowait(grpc.StatusCode.UNAVAILABLE)
    await heard.wait(2)
    downstream.answer = "SERVING"
    downstream.changes.put_nowait("SERVING")
    await heard.wait(3)
    await check.run()
    assert "petsage" not in caplog.text


async def test_the_server_sees_the_watch_end_when_the_check_is_closed(
    make: MakeCheck, downstream: Downstream
) -> None:
    check = make(downstream.address)
    await check.run()
    await downstream.watched()
    await check.close()
    await asyncio.wait_for(downstream.ended.wait(), PATIENCE)
    assert downstream.open_watches == 0
    assert not leftovers()
    await check.close()


async def test_a_check_that_has_never_run_can_be_closed(make: MakeCheck) -> None:
    await make("127.0.0.1:1").close()


async def test_a_check_of_a_server_that_is_gone_can_be_closed(make: MakeCheck) -> None:
    with faults.refused() as port:
        check = make(port)
        await failure(check)
        assert leftovers()
        await check.close()
        assert not leftovers()

"""grpc.health.v1.Health as its callers see it, through a real channel."""

import asyncio

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2

from tests.rpc.conftest import (
    NOT_SERVING,
    SERVICE_UNKNOWN,
    SERVING,
    Backend,
    Serve,
    end_of,
    read_status,
)

READY_NAMES = ["", "readiness", "petsage.v1.SmokeTestService"]
OTHER_NAMES = ["liveness", "startup"]


@pytest.mark.parametrize("name", READY_NAMES + OTHER_NAMES)
async def test_every_name_is_serving_when_all_is_well(backend: Backend, name: str) -> None:
    assert await backend.check(name) == SERVING


@pytest.mark.parametrize(
    ("name", "status"),
    [(name, NOT_SERVING) for name in READY_NAMES] + [(name, SERVING) for name in OTHER_NAMES],
)
async def test_a_broken_dependency_takes_readiness_down_and_nothing_else(
    backend: Backend, name: str, status: int
) -> None:
    await backend.break_disk()
    assert await backend.check(name) == status


async def test_a_mended_dependency_brings_it_back(backend: Backend) -> None:
    await backend.break_disk()
    await backend.mend_disk()
    assert await backend.check() == SERVING


async def test_a_group_follows_its_own_checks(serve: Serve) -> None:
    backend = await serve(policy={"gates": []}, groups={"petsage.v1.OrdersService": ["disk"]})
    await backend.becomes(SERVING, "petsage.v1.OrdersService")
    backend.directory.rename(backend.directory.with_name("elsewhere"))
    await backend.becomes(NOT_SERVING, "petsage.v1.OrdersService")
    assert await backend.check() == SERVING


@pytest.mark.parametrize("name", ["nobody", "näme", "a" * 1024], ids=["plain", "unicode", "long"])
async def test_an_unknown_name_is_not_found_and_named(backend: Backend, name: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await backend.check(name)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert name[:200] in (caught.value.details() or "")


async def test_a_name_over_the_limit_is_an_invalid_argument(backend: Backend) -> None:
    for ask in (backend.check, lambda name: backend.watch(name).read()):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask("a" * 1025)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert caught.value.details() == "the name is longer than max_name_length = 1024 bytes"


async def test_a_name_of_a_megabyte_is_refused_and_the_next_request_answered(
    backend: Backend,
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await backend.check("a" * 1_000_000)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await backend.check() == SERVING


@pytest.mark.parametrize(
    ("method", "raw"),
    [
        *(
            (method, raw)
            for method in ("Check", "Watch", "List")
            for raw in (b"\x0a\x05a", b"\xff")
        ),
        *((method, b"\x0a\x02\xff\xfe") for method in ("Check", "Watch")),  # text that is not UTF-8
    ],
)
async def test_a_malformed_request_is_an_invalid_argument_and_leaves_no_traceback(
    backend: Backend, method: str, raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await backend.call(f"/grpc.health.v1.Health/{method}", raw)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "malformed" in (caught.value.details() or "")
    assert not [record for record in caplog.records if record.exc_info]
    assert await backend.check() == SERVING


async def test_list_tells_every_name(backend: Backend) -> None:
    response = await backend.health.List(health_pb2.HealthListRequest())
    statuses = {name: answer.status for name, answer in response.statuses.items()}
    assert statuses == dict.fromkeys(READY_NAMES + OTHER_NAMES, SERVING)


@pytest.mark.parametrize(("groups", "code"), [(95, "OK"), (96, "RESOURCE_EXHAUSTED")])
async def test_list_tells_a_hundred_names_and_no_more(serve: Serve, groups: int, code: str) -> None:
    backend = await serve(groups={f"group-{number}": ["disk"] for number in range(groups)})
    call = backend.health.List(health_pb2.HealthListRequest())
    assert await call.code() is grpc.StatusCode[code]


async def test_a_watcher_sees_each_change_once(backend: Backend) -> None:
    call = backend.watch()
    seen = [await read_status(call)]
    await backend.break_disk()
    seen.append(await read_status(call))
    await backend.mend_disk()
    seen.append(await read_status(call))
    assert seen == [SERVING, NOT_SERVING, SERVING]
    call.cancel()


async def test_a_watcher_of_an_unknown_name_is_told_so_and_stays(backend: Backend) -> None:
    call = backend.watch("nobody")
    assert await read_status(call) == SERVICE_UNKNOWN
    await backend.break_disk()
    assert not call.done()
    call.cancel()


async def test_a_watcher_too_many_is_refused_until_one_leaves(serve: Serve) -> None:
    backend = await serve(max_watchers=2)
    watchers = [backend.watch() for _ in range(2)]
    for watcher in watchers:
        await watcher.read()
    refused = backend.watch()
    assert await refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await refused.details() == "too many watchers: max_watchers = 2"
    watchers[0].cancel()
    await backend.becomes_watchable()


async def test_watchers_are_told_and_ended_when_the_service_stops(backend: Backend) -> None:
    calls = [backend.watch(name) for name in ("", "liveness", "nobody")]
    first = [await read_status(call) for call in calls]
    assert first == [SERVING, SERVING, SERVICE_UNKNOWN]
    await backend.stop()
    for call in calls:
        error = await end_of(call)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert error.details() == "the service is stopping"


async def test_a_thousand_watchers_of_one_name_all_see_a_change(serve: Serve) -> None:
    backend = await serve(max_concurrent_streams=2000)  # all of them on one connection
    await backend.becomes(SERVING)
    calls = [backend.watch() for _ in range(1000)]
    firsts = await asyncio.gather(*(read_status(call) for call in calls))
    await backend.break_disk()
    seconds = await asyncio.gather(*(read_status(call) for call in calls))
    assert set(firsts) == {SERVING}
    assert set(seconds) == {NOT_SERVING}

"""SmokeTest as its callers see it, through a real channel."""

import asyncio
import datetime

import grpc
import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration

from petsage_grpc.rpc import stubs as pb
from tests.rpc.conftest import HOST, SERVING, Backend, Serve

NOW = datetime.timedelta(0)


async def test_all_is_well(backend: Backend) -> None:
    before = datetime.datetime.now(datetime.UTC)
    response = await backend.smoke.SmokeTest(pb.SmokeTestRequest())
    after = datetime.datetime.now(datetime.UTC)
    assert response.status == pb.STATUS_OK
    assert response.message == "PetSage Backend is awake and purring!"
    assert response.feature == "smoke_test"
    # The wire has nanoseconds, Python's datetime microseconds.
    assert before <= response.timestamp.ToDatetime(datetime.UTC) + datetime.timedelta.resolution
    assert response.start_time.ToDatetime(datetime.UTC) <= before
    assert response.timestamp.ToDatetime(datetime.UTC) <= after
    assert response.version
    assert response.instance
    disk, *others = response.checks
    assert [check.name for check in others] == ["application"] * (HOST == "process")
    assert (disk.name, disk.status, disk.message, disk.detail) == ("disk", pb.STATUS_OK, "", "")
    assert disk.consecutive_failures == 0
    assert list(disk.gates) == ["", "readiness", "startup", "petsage.v1.SmokeTestService"]
    assert disk.latency.ToTimedelta() > NOW
    assert disk.checked_at.ToDatetime(datetime.UTC) <= after


async def test_a_broken_dependency_is_no_error_of_the_call_but_named(backend: Backend) -> None:
    await backend.break_disk()
    response = await backend.smoke.SmokeTest(pb.SmokeTestRequest())
    assert response.status == pb.STATUS_FAILING
    assert response.message == "PetSage Backend is not well: disk."
    assert response.checks[0].status == pb.STATUS_FAILING
    assert response.checks[0].message == "failed"
    assert response.checks[0].consecutive_failures >= 3


@pytest.mark.parametrize(("details", "told"), [("never", False), ("always", True)])
async def test_why_a_check_fails_is_told_as_the_setting_says(
    serve: Serve, details: str, told: bool
) -> None:
    backend = await serve(details=details)
    await backend.becomes(SERVING)
    await backend.break_disk()
    response = await backend.smoke.SmokeTest(pb.SmokeTestRequest())
    assert (str(backend.directory) in response.checks[0].detail) is told
    assert str(backend.directory) not in response.checks[0].message


async def test_a_check_that_is_only_reported_degrades(serve: Serve) -> None:
    backend = await serve(policy={"gates": []})
    backend.directory.rename(backend.directory.with_name("elsewhere"))
    while True:
        response = await backend.smoke.SmokeTest(pb.SmokeTestRequest(max_age=NOW))
        if response.checks[0].status == pb.STATUS_FAILING:
            break
    assert response.status == pb.STATUS_DEGRADED
    assert response.message == "PetSage Backend works, but not all is well: disk."
    assert list(response.checks[0].gates) == []
    assert await backend.check() == SERVING


async def test_message_version_and_instance_are_settings(serve: Serve) -> None:
    backend = await serve(message="Purr.", version="7.1", instance="pod-3")
    await backend.becomes(SERVING)
    response = await backend.smoke.SmokeTest(pb.SmokeTestRequest(feature="smoke_test"))
    assert (response.message, response.version, response.instance) == ("Purr.", "7.1", "pod-3")


async def test_some_checks_can_be_asked_for(serve: Serve) -> None:
    disk = {"kind": "disk", "min_free": 0}
    backend = await serve(checks={"one": disk, "two": disk, "three": disk})
    await backend.becomes(SERVING)
    response = await backend.smoke.SmokeTest(pb.SmokeTestRequest(checks=["three", "one", "three"]))
    assert [check.name for check in response.checks] == ["three", "one"]


@pytest.mark.parametrize(
    ("request_", "code", "details"),
    [
        pytest.param(
            pb.SmokeTestRequest(feature="orders"), grpc.StatusCode.NOT_FOUND,
            'unknown feature "orders"; there is "smoke_test"', id="unknown feature",
        ),
        pytest.param(
            pb.SmokeTestRequest(checks=["disk", "db"]), grpc.StatusCode.NOT_FOUND,
            'unknown check "db"', id="unknown check",
        ),
        pytest.param(
            pb.SmokeTestRequest(max_age=Duration(seconds=-1)), grpc.StatusCode.INVALID_ARGUMENT,
            "max_age must not be negative", id="negative max_age",
        ),
        pytest.param(
            pb.SmokeTestRequest(max_age=Duration(nanos=-1)), grpc.StatusCode.INVALID_ARGUMENT,
            "max_age must not be negative", id="barely negative max_age",
        ),
        pytest.param(
            pb.SmokeTestRequest(max_age=Duration(seconds=-1, nanos=2_000_000_000)),
            grpc.StatusCode.INVALID_ARGUMENT, "max_age is not a valid Duration", id="no max_age",
        ),
    ],
)  # fmt: skip
async def test_a_wrong_request_is_told_what_is_wrong(
    backend: Backend, request_: pb.SmokeTestRequest, code: grpc.StatusCode, details: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await backend.smoke.SmokeTest(request_)
    assert (caught.value.code(), caught.value.details()) == (code, details)


async def test_without_max_age_no_check_is_run(serve: Serve) -> None:
    backend = await serve(policy={"interval": 1000, "edge_interval": 1000})
    await backend.becomes(SERVING)
    times = set()
    for _ in range(5):
        response = await backend.smoke.SmokeTest(pb.SmokeTestRequest())
        times.add(response.checks[0].checked_at.ToNanoseconds())
    assert len(times) == 1


async def test_a_max_age_of_nothing_brings_a_fresh_result(serve: Serve) -> None:
    slow = {"interval": 100_000, "edge_interval": 0.01, "rise": 1}
    backend = await serve(policy=slow, refresh_interval=0.001)
    await backend.becomes(SERVING)
    first = again = await backend.smoke.SmokeTest(pb.SmokeTestRequest())
    asked = pb.SmokeTestRequest(max_age=NOW)
    while (
        again.checks[0].checked_at == first.checks[0].checked_at
    ):  # until an edge interval is over
        again = await backend.smoke.SmokeTest(asked)
    assert again.checks[0].checked_at.ToNanoseconds() > first.checks[0].checked_at.ToNanoseconds()


async def test_a_thousand_callers_with_max_age_cause_one_run_in_a_refresh_interval(
    serve: Serve,
) -> None:
    # So that neither its schedule nor its edge interval keeps a second run away.
    slow = {"interval": 100_000, "edge_interval": 0.01, "rise": 1}
    backend = await serve(policy=slow, refresh_interval=1000)
    await backend.becomes(SERVING)
    asked = pb.SmokeTestRequest(max_age=NOW)
    answers = await asyncio.gather(*(backend.smoke.SmokeTest(asked) for _ in range(1000)))
    assert len({answer.checks[0].checked_at.ToNanoseconds() for answer in answers}) == 1

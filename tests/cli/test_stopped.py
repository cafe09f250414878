"""A process that was stopped for long tells no stale green when it wakes, and settles by itself."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.faults import stopped
from tests.processes import PATIENCE, Served, served, settings_file

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

LONG = 1.0
"""Seconds of a client's deadline that pass while the process is stopped: twice stale_after."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def service(tmp_path: Path, data: Path) -> Iterator[Served]:
    config = settings_file(
        tmp_path,
        "[checks.data]", 'kind = "disk"', f'directory = "{data}"', "min_free = 0",
        "interval = 0.2", "timeout = 0.1", "edge_interval = 0.1", "stale_after = 0.5",
    )  # fmt: skip
    with served("--config", str(config)) as process:
        process.wait_for("check data is passing")
        yield process


@pytest.fixture
def health(service: Served) -> "Iterator[health_pb2_grpc.HealthStub]":
    with grpc.insecure_channel(service.address) as channel:
        yield health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]


OVERALL = health_pb2.HealthCheckRequest()


def nobody_answers(health: "health_pb2_grpc.HealthStub") -> None:
    with pytest.raises(grpc.RpcError) as caught:
        health.Check(OVERALL, timeout=LONG)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_what_died_while_it_was_stopped_is_never_told_to_be_serving(
    service: Served, health: "health_pb2_grpc.HealthStub", data: Path
) -> None:
    watch = health.Watch(OVERALL, timeout=PATIENCE)
    assert next(watch).status == SERVING
    with stopped(service.process):
        shutil.rmtree(data)
        nobody_answers(health)
        waiting = [health.Check.future(OVERALL, timeout=PATIENCE) for _ in range(20)]
    told = {call.result().status for call in waiting}
    told |= {health.Check(OVERALL, timeout=PATIENCE).status for _ in range(200)}
    assert told == {NOT_SERVING}
    assert next(watch).status == NOT_SERVING
    data.mkdir()
    assert next(watch).status == SERVING
    watch.cancel()


def test_it_settles_by_itself_when_all_is_well(
    service: Served, health: "health_pb2_grpc.HealthStub"
) -> None:
    with stopped(service.process):
        nobody_answers(health)
    assert SERVING in (answer.status for answer in health.Watch(OVERALL, timeout=PATIENCE))

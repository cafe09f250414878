"""With every dependency down the process lives, is not ready, and names each of them."""

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from petsage_grpc.rpc import stubs as pb
from tests.faults import refused
from tests.processes import PATIENCE, Served, run, served, settings_file

Status = health_pb2.HealthCheckResponse

DOWN = {
    "tcp": 'address = "127.0.0.1:{port}"',
    "http": 'url = "http://user:s3cr3t@127.0.0.1:{port}/health"',
    "grpc": 'address = "127.0.0.1:{port}"',
    "database": 'url = "postgresql://user:s3cr3t@127.0.0.1:{port}/orders"',
    "redis": 'url = "redis://user:s3cr3t@127.0.0.1:{port}/0"',
    "disk": 'directory = "/no/such/directory"',
}
FAST = "interval = 0.3\nedge_interval = 0.1\ntimeout = 0.2"


def settings(folder: Path, port: int, *, kinds: tuple[str, ...], gates: str = "") -> Path:
    lines = ['details = "always"']
    for kind in kinds:
        lines += [f"[checks.my-{kind}]", f'kind = "{kind}"', FAST, DOWN[kind].format(port=port)]
        lines += [gates] if gates else []
    return settings_file(folder, *lines)


def status_of(service: Served, name: str) -> int:
    with grpc.insecure_channel(service.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
        request = health_pb2.HealthCheckRequest(service=name)
        return stub.Check(request, timeout=PATIENCE).status  # type: ignore[no-any-return]


OUTSIDE = ("tcp", "http", "grpc", "database", "redis", "disk")


@pytest.fixture
def nobody() -> Iterator[int]:
    with refused() as port:
        yield port


@pytest.fixture
def all_down(tmp_path: Path, nobody: int) -> Iterator[Served]:
    config = settings(tmp_path, nobody, kinds=OUTSIDE)
    with served("--config", str(config)) as service:
        for kind in OUTSIDE:
            service.wait_for(f"check my-{kind} is (failing|stale)")
        yield service


def test_it_lives_is_not_ready_and_its_smoke_test_names_each(all_down: Served) -> None:
    assert status_of(all_down, "liveness") == Status.SERVING
    assert status_of(all_down, "readiness") == Status.NOT_SERVING
    assert status_of(all_down, "") == Status.NOT_SERVING
    outcome = run("smoke", "--json", all_down.address)
    assert outcome.returncode == 4
    told = json.loads(outcome.stdout)
    assert told["status"] == "STATUS_FAILING"
    for kind in OUTSIDE:
        assert f"my-{kind}" in told["message"]
    assert {check["name"]: check["status"] for check in told["checks"]} == {
        f"my-{kind}": "STATUS_FAILING" for kind in OUTSIDE
    }


def test_no_secret_is_in_its_log_or_its_answers(all_down: Served) -> None:
    with grpc.insecure_channel(all_down.address) as channel:
        answer = pb.SmokeTestServiceStub(channel).SmokeTest(pb.SmokeTestRequest(), timeout=PATIENCE)
    details = {check.name: check.detail for check in answer.checks}
    assert all(details[f"my-{kind}"] for kind in OUTSIDE), "details are shown here"
    assert "s3cr3t" not in str(answer)
    assert "s3cr3t" not in "\n".join(all_down.lines)
    assert "/orders" not in str(answer) + "\n".join(all_down.lines), "nor a URL"


def test_a_check_that_gates_nothing_degrades_and_takes_nobody_out_of_rotation(
    tmp_path: Path, nobody: int
) -> None:
    config = settings(tmp_path, nobody, kinds=("redis",), gates="gates = []")
    with served("--config", str(config)) as service:
        service.wait_for("check my-redis is failing")
        assert status_of(service, "readiness") == Status.SERVING
        told = json.loads(run("smoke", "--json", service.address).stdout)
    assert told["status"] == "STATUS_DEGRADED"
    assert "my-redis" in told["message"]


def test_a_check_of_the_outside_can_not_gate_liveness(tmp_path: Path, nobody: int) -> None:
    config = settings(tmp_path, nobody, kinds=("tcp",), gates='gates = ["liveness"]')
    outcome = run("serve", "--config", str(config))
    assert outcome.returncode == 2
    assert "checks.my-tcp.gates: a check that reaches outside can not gate live" in outcome.stderr

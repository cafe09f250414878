"""What a person sees who asks the service with grpcurl."""

import datetime
import json

import pytest

from tests.clients.conftest import CHECK, Client
from tests.processes import Served

NAMES = ["", "readiness", "liveness", "startup", "petsage.v1.SmokeTestService"]


def test_list_shows_both_services_and_reflection(grpcurl: Client, service: Served) -> None:
    ended = grpcurl("-plaintext", service.address, "list")
    assert ended.stdout.split() == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "petsage.v1.SmokeTestService",
    ]


@pytest.mark.parametrize(
    ("symbol", "text"),
    [
        ("petsage.v1.SmokeTestService", "rpc SmokeTest ( .petsage.v1.SmokeTestRequest )"),
        ("petsage.v1.SmokeTestService.SmokeTest", "is a method"),
        ("petsage.v1.SmokeTestResponse", ".google.protobuf.Timestamp timestamp = 4;"),
        ("grpc.health.v1.Health", "rpc List ( .grpc.health.v1.HealthListRequest )"),
        ("grpc.health.v1.Health.Watch", "is a method"),
    ],
)
def test_describe_knows_services_methods_and_messages(
    grpcurl: Client, service: Served, symbol: str, text: str
) -> None:
    ended = grpcurl("-plaintext", service.address, "describe", symbol)
    assert ended.returncode == 0, ended.stderr
    assert text in ended.stdout


def test_describe_of_what_there_is_not_says_so(grpcurl: Client, service: Served) -> None:
    ended = grpcurl("-plaintext", service.address, "describe", "grpc.health.v1.Health.Nothing")
    assert ended.returncode != 0
    assert "not found" in ended.stderr.lower()


def test_the_smoke_test_says_that_all_is_well(grpcurl: Client, service: Served) -> None:
    ended = grpcurl("-plaintext", service.address, "petsage.v1.SmokeTestService/SmokeTest")
    answer = json.loads(ended.stdout)
    assert answer["status"] == "STATUS_OK"
    assert answer["message"] == "PetSage Backend is awake and purring!"
    assert answer["feature"] == "smoke_test"
    said = datetime.datetime.fromisoformat(answer["timestamp"][:26] + "+00:00")
    assert abs(datetime.datetime.now(datetime.UTC) - said) < datetime.timedelta(minutes=1)
    assert answer["timestamp"].endswith("Z")
    assert [(check["name"], check["status"]) for check in answer["checks"]] == [
        ("disk", "STATUS_OK"),
        ("log", "STATUS_OK"),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_check_says_that_a_name_is_serving(grpcurl: Client, service: Served, name: str) -> None:
    request = json.dumps({"service": name})
    ended = grpcurl("-plaintext", "-d", request, service.address, CHECK)
    assert json.loads(ended.stdout) == {"status": "SERVING"}


def test_check_does_not_find_an_unknown_name(grpcurl: Client, service: Served) -> None:
    ended = grpcurl("-plaintext", "-d", '{"service": "nobody"}', service.address, CHECK)
    assert "Code: NotFound" in ended.stderr
    assert 'Message: unknown health name "nobody"' in ended.stderr


def test_watch_of_an_unknown_name_says_so_and_stays(grpcurl: Client, service: Served) -> None:
    ended = grpcurl(
        "-plaintext", "-max-time", "1", "-d", '{"service": "nobody"}', service.address,
        "grpc.health.v1.Health/Watch",
    )  # fmt: skip
    assert json.loads(ended.stdout) == {"status": "SERVICE_UNKNOWN"}
    assert "Code: DeadlineExceeded" in ended.stderr, "it was the client that ended it"


def test_list_of_the_health_service_tells_every_name(grpcurl: Client, service: Served) -> None:
    ended = grpcurl("-plaintext", service.address, "grpc.health.v1.Health/List")
    assert json.loads(ended.stdout)["statuses"] == {name: {"status": "SERVING"} for name in NAMES}

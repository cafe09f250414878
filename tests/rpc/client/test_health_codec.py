"""The two messages of a health check are written and read as protobuf does it."""

import pytest
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from petsage_grpc.rpc.client.health_codec import decode_status, encode_request, status_name

Response = health_pb2.HealthCheckResponse

NAMES = ["", "a", "petsage.v1.Orders", "n\u00e4me \U0001f408", "x" * 127, "x" * 128, "x" * 100_000]


@pytest.mark.parametrize("name", NAMES, ids=[f"{len(name)} characters" for name in NAMES])
def test_a_request_is_written_as_protobuf_writes_it(name: str) -> None:
    expected = health_pb2.HealthCheckRequest(service=name).SerializeToString()

    assert encode_request(name) == expected


@pytest.mark.parametrize("status", [*Response.ServingStatus.values(), 4, 127, 128, 2**31 - 1])
def test_an_answer_is_read_as_protobuf_reads_it(status: int) -> None:
    message = Response(status=status).SerializeToString()  # type: ignore[arg-type]

    assert decode_status(message) == status


def test_every_status_has_the_name_of_the_protocol() -> None:
    names = Response.ServingStatus.items()

    assert [(status_name(status), status) for _, status in names] == names
    assert status_name(len(names)) == str(len(names))


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"\x08\1\x10\x96\1", id="another number"),
        pytest.param(b"\x12\2ab\x08\1", id="a string"),
        pytest.param(b"\x19abcdefgh\x08\1\x25abcd", id="fixed widths"),
        pytest.param(b"\x08\2\x08\1", id="the last one counts"),
    ],
)
def test_fields_of_a_later_protocol_are_passed_over(message: bytes) -> None:
    assert decode_status(message) == Response.FromString(message).status == Response.SERVING


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"\x08", id="no value"),
        pytest.param(b"\x08\x80", id="half a value"),
        pytest.param(b"\x08" + b"\xff" * 11, id="a value without end"),
        pytest.param(b"\x12\5ab", id="half a string"),
        pytest.param(b"\x25ab", id="half a number"),
        pytest.param(b"\x0f", id="no such wire type"),
        pytest.param(b"\0\1", id="no such field"),
    ],
)
def test_what_protobuf_refuses_is_refused(message: bytes) -> None:
    with pytest.raises(DecodeError):
        Response.FromString(message)
    with pytest.raises(ValueError, match=r"."):
        decode_status(message)

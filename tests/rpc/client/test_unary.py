"""Headers that can not be sent, and answers that are none, each with its status."""

import gzip
import socket

import pytest
from h2.connection import H2Connection
from h2.errors import ErrorCodes

from petsage_grpc.rpc import client
from petsage_grpc.rpc.client import MetadataError, RpcError
from tests.rpc.client.conftest import TIMEOUT, call, connect
from tests.rpc.client.raw_servers import GRPC, Answer, http2, message, replying


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("", "x", "a name has"),
        ("a b", "x", "a name has"),
        (":path", "x", "a name has"),
        ("te", "x", "belongs to the protocol"),
        ("Grpc-Timeout", "x", "belongs to the protocol"),
        ("token", "sécret", "printable ASCII"),
        ("token", "secret\r\nx: y", "printable ASCII"),
    ],
)
def test_a_header_that_can_not_be_sent_is_refused_without_showing_its_value(
    server: str, name: str, value: str, reason: str
) -> None:
    with connect(server) as connection:
        with pytest.raises(MetadataError, match=reason) as caught:
            connection.call("/echo/same", b"", TIMEOUT, [(name, value)])
        assert connection.call("/echo/same", b"after", TIMEOUT) == b"after"

    assert value not in str(caught.value) or value == "x"


NOT_FOUND = [("grpc-status", "5"), ("grpc-message", "a%20%zz%C3%BC")]
GZIP = [*GRPC, ("grpc-encoding", "gzip")]
BOMB = gzip.compress(bytes(client.MAX_MESSAGE + 1))


def test_an_answer_in_gzip_is_unpacked() -> None:
    answer = replying(headers=GZIP, body=message(gzip.compress(b"content"), 1))

    assert call(http2(answer)) == b"content"


@pytest.mark.parametrize(
    ("answer", "name", "details"),
    [
        pytest.param(replying(headers=GZIP, body=message(BOMB, 1)), "RESOURCE_EXHAUSTED",
                     "unpacked answer is longer", id="gzip bomb"),
        pytest.param(replying(headers=GZIP, body=message(b"no gzip", 1)), "INTERNAL",
                     "broken gzip", id="broken gzip"),
        pytest.param(replying(headers=GZIP, body=message(gzip.compress(b"x")[:-9], 1)), "INTERNAL",
                     "ends too early", id="cut gzip"),
        pytest.param(replying(body=message(b"x", 1)), "INTERNAL", 'compressed as "identity"',
                     id="compressed without saying how"),
        pytest.param(replying(body=b"\0\xff\xff\xff\xff"), "RESOURCE_EXHAUSTED", "longer than",
                     id="announces four gigabytes"),
        pytest.param(replying(body=message(b"a") + message(b"b")), "INTERNAL",
                     "without one whole message", id="two messages"),
        pytest.param(replying(), "INTERNAL", "without one whole message", id="no message"),
        pytest.param(replying(body=message(b"abc")[:-1]), "INTERNAL", "without one whole message",
                     id="cut message"),
        pytest.param(replying(headers=[*GRPC, *NOT_FOUND], trailers=[]), "NOT_FOUND", "a %zzü",
                     id="headers alone"),
        pytest.param(replying(trailers=[("grpc-status", "99")]), "CODE_99", "", id="new status"),
        pytest.param(replying(trailers=[("grpc-status", "-1")]), "UNKNOWN", "", id="no status"),
        pytest.param(replying(trailers=[("x", "y")]), "UNKNOWN",
                     "without gRPC's status (application/grpc)", id="status missing"),
        pytest.param(replying(headers=[(":status", "200"), ("content-type", "text/html")],
                              trailers=[]), "UNKNOWN", "(text/html)", id="a web page"),
        *(
            pytest.param(replying(headers=[(":status", status)], trailers=[]), name,
                         f"HTTP status {status}", id=f"HTTP {status}")
            for status, name in [
                ("400", "INTERNAL"), ("401", "UNAUTHENTICATED"), ("403", "PERMISSION_DENIED"),
                ("404", "UNIMPLEMENTED"), ("429", "UNAVAILABLE"), ("502", "UNAVAILABLE"),
                ("503", "UNAVAILABLE"), ("504", "UNAVAILABLE"), ("500", "UNKNOWN"),
            ]
        ),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_has_a_status(answer: Answer, name: str, details: str) -> None:
    with pytest.raises(RpcError) as caught:
        call(http2(answer))

    assert (caught.value.name, details in caught.value.details) == (name, True)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (ErrorCodes.NO_ERROR, "INTERNAL"),
        (ErrorCodes.PROTOCOL_ERROR, "INTERNAL"),
        (ErrorCodes.INTERNAL_ERROR, "INTERNAL"),
        (ErrorCodes.FLOW_CONTROL_ERROR, "INTERNAL"),
        (ErrorCodes.SETTINGS_TIMEOUT, "INTERNAL"),
        (ErrorCodes.STREAM_CLOSED, "UNKNOWN"),
        (ErrorCodes.FRAME_SIZE_ERROR, "INTERNAL"),
        (ErrorCodes.REFUSED_STREAM, "UNAVAILABLE"),
        (ErrorCodes.CANCEL, "CANCELLED"),
        (ErrorCodes.COMPRESSION_ERROR, "INTERNAL"),
        (ErrorCodes.CONNECT_ERROR, "INTERNAL"),
        (ErrorCodes.ENHANCE_YOUR_CALM, "RESOURCE_EXHAUSTED"),
        (ErrorCodes.INADEQUATE_SECURITY, "PERMISSION_DENIED"),
        (ErrorCodes.HTTP_1_1_REQUIRED, "UNKNOWN"),
    ],
    ids=lambda value: value.name if isinstance(value, ErrorCodes) else "",
)
def test_a_stream_that_is_reset_has_a_status(code: ErrorCodes, name: str) -> None:
    def reset(server: H2Connection, stream: int, _: socket.socket) -> None:
        server.reset_stream(stream, code)

    with pytest.raises(RpcError) as caught:
        call(http2(reset))

    assert caught.value.name == name
    assert caught.value.details == f"the server reset the stream ({code.name})"

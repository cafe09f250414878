"""The one place that knows both our words and the wire's."""

from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2

from petsage_grpc._gen.petsage.v1 import smoke_test_pb2
from petsage_grpc.core.check_state import Transition
from petsage_grpc.core.report import CheckReport, Override
from petsage_grpc.core.status import Health, Status, Verdict

__all__ = ["HEALTH_SERVICE", "SMOKE_TEST_SERVICE", "WIRE_HEALTH", "WIRE_STATUS", "check_result",
           "name_override", "timestamp"]  # fmt: skip

HEALTH_SERVICE: Final[str] = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
SMOKE_TEST_SERVICE: Final[str] = smoke_test_pb2.DESCRIPTOR.services_by_name[
    "SmokeTestService"
].full_name

WIRE_STATUS: Final = {
    Status.SERVING: health_pb2.HealthCheckResponse.SERVING,
    Status.NOT_SERVING: health_pb2.HealthCheckResponse.NOT_SERVING,
    Status.SERVICE_UNKNOWN: health_pb2.HealthCheckResponse.SERVICE_UNKNOWN,
}

WIRE_HEALTH: Final = {
    Health.OK: smoke_test_pb2.STATUS_OK,
    Health.DEGRADED: smoke_test_pb2.STATUS_DEGRADED,
    Health.FAILING: smoke_test_pb2.STATUS_FAILING,
}

_PUBLIC_MESSAGE: Final = {
    Verdict.PENDING: "no result yet",
    Verdict.PASSING: "",
    Verdict.FAILING: "failing",
    Verdict.STALE: "the last result is stale",
}

_NANOS: Final = 1_000_000_000
_LAST: Final = 253_402_300_800.0
"""The end of the year 9999, in seconds since 1970: no timestamp is later."""


def timestamp(seconds: float) -> Timestamp:
    """Turn seconds since 1970 (UTC) into the wire's timestamp."""
    whole, nanos = divmod(round(seconds * _NANOS), _NANOS)
    return Timestamp(seconds=whole, nanos=nanos)


def check_result(report: CheckReport, *, with_detail: bool) -> smoke_test_pb2.CheckResult:
    """Turn what is known of a check into what is told of it."""
    passing, last = report.verdict is Verdict.PASSING, report.last
    result = smoke_test_pb2.CheckResult(
        name=report.name,
        status=smoke_test_pb2.STATUS_OK if passing else smoke_test_pb2.STATUS_FAILING,
        consecutive_failures=report.failures,
        gates=report.names,
        shared=report.shared,
        message=_PUBLIC_MESSAGE[report.verdict],
    )
    if last is not None:
        whole, nanos = divmod(round(last.latency * _NANOS), _NANOS)
        result.checked_at.CopyFrom(timestamp(last.wall_time))
        result.latency.CopyFrom(Duration(seconds=whole, nanos=nanos))
        if last.message and report.verdict is not Verdict.STALE:
            result.message = last.message
        if with_detail:
            result.detail = last.detail
    if with_detail:
        result.history.extend(map(_transition, report.history))
    return result


def _transition(turned: Transition) -> smoke_test_pb2.Transition:
    passing = turned.verdict is Verdict.PASSING
    return smoke_test_pb2.Transition(
        status=smoke_test_pb2.STATUS_OK if passing else smoke_test_pb2.STATUS_FAILING,
        turned_at=timestamp(turned.wall_time),
        detail=turned.detail,
    )


def name_override(override: Override, *, with_detail: bool) -> smoke_test_pb2.NameOverride:
    """Turn what is said of a name into what is told of that."""
    word = override.word
    told = smoke_test_pb2.NameOverride(
        name=word.name, serving=word.serving, set_at=timestamp(word.wall_time)
    )
    if override.by_checks is not None:
        told.serving_by_checks = override.by_checks is Status.SERVING
    if word.ttl is not None and word.wall_time + word.ttl < _LAST:
        told.expires_at.CopyFrom(timestamp(word.wall_time + word.ttl))
    if with_detail:
        told.reason = word.reason
    return told

"""Our own SmokeTest: what is known of the whole backend, in one answer for people and machines."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import grpc

from petsage_grpc._gen.petsage.v1.smoke_test_pb2 import SmokeTestRequest, SmokeTestResponse
from petsage_grpc.core.clock import Clock
from petsage_grpc.core.monitor import CheckReport, Monitor
from petsage_grpc.core.status import Health, Verdict
from petsage_grpc.rpc._requests import Context, abort, parse, quote
from petsage_grpc.rpc.convert import SMOKE_TEST_SERVICE, WIRE_HEALTH, check_result, timestamp

__all__ = ["WHOLE_BACKEND", "SmokeTestServicer"]

WHOLE_BACKEND: Final = "smoke_test"
"""The feature that stands for all of them."""

_MOST_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer that holds until something happens or time makes it untrue."""

    revision: int
    valid_until: float
    response: bytes


class SmokeTestServicer:
    """Answers SmokeTest from the monitor's memory, after a refresh where the caller wants one.

    Args:
        monitor: what knows the checks.
        clock: tells the time.
        message: what is said when all is well.
        version: the version of the server.
        instance: tells this process from others.
        with_details: whether callers are told why a check fails.
    """

    def __init__(
        self,
        monitor: Monitor,
        clock: Clock,
        *,
        message: str,
        version: str,
        instance: str,
        with_details: bool,
    ) -> None:
        self._monitor = monitor
        self._clock = clock
        self._message = message
        self._with_details = with_details
        self._kept = _Kept(-1, 0.0, b"")
        self._constant = SmokeTestResponse(
            feature=WHOLE_BACKEND,
            version=version,
            instance=instance,
            start_time=timestamp(clock.wall_time()),
        )

    def handlers(self) -> "dict[str, grpc.RpcMethodHandler[bytes, bytes]]":
        """Make the handler of each method, by its path, for a grpc.aio server."""
        path = f"/{SMOKE_TEST_SERVICE}/SmokeTest"
        return {path: grpc.unary_unary_rpc_method_handler(self._smoke_test)}

    async def _smoke_test(self, raw: bytes, context: Context) -> bytes:
        names = await self._prepare(raw, context) if raw else None
        now = timestamp(self._clock.wall_time())
        # Messages that are joined are merged: only the time must be made for each call.
        return self._recall(names) + SmokeTestResponse(timestamp=now).SerializeToString()

    async def _prepare(self, raw: bytes, context: Context) -> tuple[str, ...] | None:
        """Read the request and see to its max_age; return the checks to report, None for all."""
        request = await parse(SmokeTestRequest, raw, context)
        if request.feature not in ("", WHOLE_BACKEND):
            details = f'unknown feature {quote(request.feature)}; there is "{WHOLE_BACKEND}"'
            await abort(context, "NOT_FOUND", details)
        names = tuple(dict.fromkeys(request.checks)) or None
        try:
            self._monitor.report(names)
        except KeyError as error:
            await abort(context, "NOT_FOUND", f"unknown check {quote(error.args[0])}")
        if request.HasField("max_age"):
            max_age = request.max_age.seconds + request.max_age.nanos * 1e-9
            if max_age < 0:
                await abort(context, "INVALID_ARGUMENT", "max_age must not be negative")
            await self._monitor.refresh(max_age, names)
        return names

    def _recall(self, names: tuple[str, ...] | None) -> bytes:
        """Give the answer for all checks as it was made last, where it still holds."""
        if names is not None:
            return self._respond(names, self._monitor.report(names))
        kept = self._kept
        if kept.revision != self._monitor.revision or self._clock.now() >= kept.valid_until:
            revision, reports = self._monitor.revision, self._monitor.report()
            valid_until = min((report.valid_until for report in reports), default=float("inf"))
            kept = self._kept = _Kept(revision, valid_until, self._respond(None, reports))
        return kept.response

    def _respond(self, names: Sequence[str] | None, reports: Sequence[CheckReport]) -> bytes:
        """Make the answer, all but its time."""
        health = self._monitor.health(names)
        if self._monitor.draining and health is Health.OK:
            health = Health.DEGRADED
        response = SmokeTestResponse(
            status=WIRE_HEALTH[health],
            message=self._describe(health, reports),
            checks=[check_result(report, with_detail=self._with_details) for report in reports],
        )
        response.MergeFrom(self._constant)
        return response.SerializeToString()

    def _describe(self, health: Health, reports: Sequence[CheckReport]) -> str:
        if health is Health.OK:
            return self._message
        broken = [report.name for report in reports if report.verdict is not Verdict.PASSING]
        if not broken:
            return "PetSage Backend is shutting down."
        more = f" and {len(broken) - _MOST_NAMED} more" if len(broken) > _MOST_NAMED else ""
        listed = ", ".join(broken[:_MOST_NAMED]) + more
        if health is Health.DEGRADED:
            return f"PetSage Backend works, but not all is well: {listed}."
        if all(r.verdict in (Verdict.PENDING, Verdict.PASSING) for r in reports):
            return f"PetSage Backend is waking up, no result yet of: {listed}."
        return f"PetSage Backend is not well: {listed}."

"""Our own SmokeTest: what is known of the whole backend, in one answer for people and machines."""

from typing import Final

import grpc

from petsage_grpc._gen.petsage.v1.smoke_test_pb2 import SmokeTestRequest, SmokeTestResponse
from petsage_grpc.core.clock import Clock
from petsage_grpc.core.monitor import Monitor
from petsage_grpc.core.report import Report
from petsage_grpc.core.status import Health, Verdict
from petsage_grpc.rpc._requests import Context, abort, parse, quote
from petsage_grpc.rpc.convert import SMOKE_TEST_SERVICE, WIRE_HEALTH, check_result, timestamp

__all__ = ["WHOLE_BACKEND", "SmokeTestServicer"]

WHOLE_BACKEND: Final = "smoke_test"
"""The feature that stands for all of them."""

_MOST_NAMED: Final = 10
_NANOS: Final = 1_000_000_000


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
        self._kept: tuple[Report, bytes] | None = None
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
            seconds, nanos = request.max_age.seconds, request.max_age.nanos
            max_age = seconds + nanos * 1e-9
            if abs(nanos) >= _NANOS or seconds * nanos < 0:
                await abort(context, "INVALID_ARGUMENT", "max_age is not a valid Duration")
            if max_age < 0:
                await abort(context, "INVALID_ARGUMENT", "max_age must not be negative")
            await self._monitor.refresh(max_age, names)
        return names

    def _recall(self, names: tuple[str, ...] | None) -> bytes:
        """Give the answer for all checks as it was made last, where it still holds."""
        if names is not None:
            return self._respond(self._monitor.report(names))
        if self._kept is None or not self._monitor.is_current(self._kept[0]):
            report = self._monitor.report()
            self._kept = (report, self._respond(report))
        return self._kept[1]

    def _respond(self, report: Report) -> bytes:
        """Make the answer, all but its time."""
        health = report.health
        if report.draining and health is Health.OK:
            health = Health.DEGRADED
        response = SmokeTestResponse(
            status=WIRE_HEALTH[health],
            message=self._describe(health, report),
            checks=[check_result(check, with_detail=self._with_details) for check in report.checks],
        )
        response.MergeFrom(self._constant)
        return response.SerializeToString()

    def _describe(self, health: Health, report: Report) -> str:
        if health is Health.OK:
            return self._message
        broken = [check for check in report.checks if check.verdict is not Verdict.PASSING]
        more = f" and {len(broken) - _MOST_NAMED} more" if len(broken) > _MOST_NAMED else ""
        named = ", ".join(check.name for check in broken[:_MOST_NAMED]) + more
        if not broken:
            return "PetSage Backend is shutting down."
        if health is Health.DEGRADED:
            return f"PetSage Backend works, but not all is well: {named}."
        if all(check.verdict is Verdict.PENDING for check in broken):
            return f"PetSage Backend is waking up, no result yet of: {named}."
        return f"PetSage Backend is not well: {named}."

"""Our own SmokeTest: what is known of the whole backend, in one answer for people and machines."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

import grpc

from petsage_grpc._gen.petsage.v1.smoke_test_pb2 import SmokeTestRequest, SmokeTestResponse
from petsage_grpc.core.clock import Clock
from petsage_grpc.core.monitor import Monitor
from petsage_grpc.core.report import Report
from petsage_grpc.core.status import Health, Verdict
from petsage_grpc.core.text import some
from petsage_grpc.rpc._requests import Context, abort, parse, quote
from petsage_grpc.rpc.authorize import Authorizer, CallerContext
from petsage_grpc.rpc.convert import (
    SMOKE_TEST_SERVICE,
    WIRE_HEALTH,
    check_result,
    name_override,
    timestamp,
)

__all__ = ["WHOLE_BACKEND", "FeatureTold", "SmokeTestServicer"]

WHOLE_BACKEND: Final = "smoke_test"
"""The feature that stands for all of them."""

_NANOS: Final = 1_000_000_000


class FeatureTold(NamedTuple):
    """What is told of a feature."""

    message: str
    """What is said when all is well."""
    checks: tuple[str, ...]
    """The checks that it depends on."""


class SmokeTestServicer:
    """Answers SmokeTest from the monitor's memory, after a refresh where the caller wants one.

    Args:
        monitor: what knows the checks.
        clock: tells the time.
        message: what is said when all is well.
        version: the version of the server.
        instance: tells this process from others.
        with_details: whether callers are told why a check fails, or what says so of each of them.
        features: what can be asked for besides the whole backend.
        refused: says how often each limit has been reached, by its setting.
        redact: replaces what all checks hide in a text.
    """

    def __init__(
        self,
        monitor: Monitor,
        clock: Clock,
        *,
        message: str,
        version: str,
        instance: str,
        with_details: bool | Authorizer,
        features: Mapping[str, FeatureTold] | None = None,
        refused: Callable[[], Mapping[str, int]] = dict,
        redact: Callable[[str], str] = str,
    ) -> None:
        self._monitor = monitor
        self._clock = clock
        self._message = message
        self._with_details = with_details
        self._features = dict(sorted((features or {}).items()))
        self._refused = refused
        self._redact = redact
        self._kept: dict[tuple[str, bool], tuple[Report, bytes]] = {}
        self._constant = SmokeTestResponse(
            features=self._features,
            version=version,
            instance=instance,
            start_time=timestamp(clock.wall_time()),
        )

    def handlers(self) -> "dict[str, grpc.RpcMethodHandler[bytes, bytes]]":
        """Make the handler of each method, by its path, for a grpc.aio server."""
        path = f"/{SMOKE_TEST_SERVICE}/SmokeTest"
        return {path: grpc.unary_unary_rpc_method_handler(self._smoke_test)}

    async def _smoke_test(self, raw: bytes, context: CallerContext) -> bytes:
        told = self._with_details
        with_details = told if isinstance(told, bool) else await told.admits(context)
        feature, names = await self._prepare(raw, context) if raw else (WHOLE_BACKEND, None)
        own = SmokeTestResponse(
            timestamp=timestamp(self._clock.wall_time()),
            refused=self._refused() if with_details else None,
        )
        # Messages that are joined are merged: only what each call has of its own is made for it.
        answer = self._recall(feature, names, with_details=with_details)
        return answer + own.SerializeToString()

    async def _prepare(self, raw: bytes, context: Context) -> tuple[str, tuple[str, ...] | None]:
        """Read the request and see to its max_age.

        Return the feature, and the checks to report; None for all of the feature's.
        """
        request = await parse(SmokeTestRequest, raw, context)
        feature = request.feature or WHOLE_BACKEND
        if feature != WHOLE_BACKEND and feature not in self._features:
            await abort(context, "NOT_FOUND", self._unknown(feature))
        names = tuple(dict.fromkeys(request.checks)) or None
        await self._refuse_unknown(feature, names or (), context)
        if request.HasField("max_age"):
            seconds, nanos = request.max_age.seconds, request.max_age.nanos
            max_age = seconds + nanos * 1e-9
            if abs(nanos) >= _NANOS or seconds * nanos < 0:
                await abort(context, "INVALID_ARGUMENT", "max_age is not a valid Duration")
            if max_age < 0:
                await abort(context, "INVALID_ARGUMENT", "max_age must not be negative")
            await self._monitor.refresh(max_age, names or self._checks_of(feature))
        return feature, names

    def _checks_of(self, feature: str) -> tuple[str, ...] | None:
        """Name the checks of a feature; None means all that there are."""
        return None if feature == WHOLE_BACKEND else self._features[feature].checks

    def _unknown(self, feature: str) -> str:
        there_are = [quote(name) for name in (WHOLE_BACKEND, *self._features)]
        verb = "is" if len(there_are) == 1 else "are"
        return f"unknown feature {quote(feature)}; there {verb} {some(there_are)}"

    async def _refuse_unknown(self, feature: str, names: Iterable[str], context: Context) -> None:
        known = self._checks_of(feature)
        for name in names:
            if known is not None and name not in known:
                details = f"feature {quote(feature)} has no check {quote(name)}"
                await abort(context, "NOT_FOUND", details)
        try:
            self._monitor.report(names)
        except KeyError as error:
            await abort(context, "NOT_FOUND", f"unknown check {quote(error.args[0])}")

    def _recall(self, feature: str, names: tuple[str, ...] | None, *, with_details: bool) -> bytes:
        """Give the answer for all checks of a feature as it was made last, where it still holds."""
        if names is not None:
            return self._respond(feature, self._monitor.report(names), with_details=with_details)
        kept = self._kept.get((feature, with_details))
        if kept is None or not self._monitor.is_current(kept[0]):
            report = self._monitor.report(self._checks_of(feature))
            made = self._respond(feature, report, with_details=with_details)
            kept = self._kept[feature, with_details] = (report, made)
        return kept[1]

    def _respond(self, feature: str, report: Report, *, with_details: bool) -> bytes:
        """Make the answer, all but its time."""
        health = report.health
        if report.draining and health is Health.OK:
            health = Health.DEGRADED
        response = SmokeTestResponse(
            status=WIRE_HEALTH[health],
            message=self._describe(feature, health, report),
            feature=feature,
            checks=[check_result(check, with_detail=with_details) for check in report.checks],
            overrides=[name_override(o, with_detail=with_details) for o in report.overrides],
        )
        response.MergeFrom(self._constant)
        for result in response.checks:  # a check knows its own secrets, and may repeat another's
            result.message, result.detail = (
                self._redact(result.message),
                self._redact(result.detail),
            )
            for turned in result.history:
                turned.detail = self._redact(turned.detail)
        for override in response.overrides:
            override.reason = self._redact(override.reason)
        return response.SerializeToString()

    def _describe(self, feature: str, health: Health, report: Report) -> str:
        whole = feature == WHOLE_BACKEND
        if health is Health.OK:
            return self._message if whole else self._features[feature].message
        who = "PetSage Backend" if whole else f"The feature {feature}"
        broken = [check for check in report.checks if check.verdict is not Verdict.PASSING]
        said = [
            f"{quote(override.word.name)} is set NOT_SERVING"
            for override in report.overrides
            if not override.word.serving
        ]
        named = some([*said, *(check.name for check in broken)])
        if not broken and not said:
            return "PetSage Backend is shutting down."
        if health is Health.DEGRADED:
            return f"{who} works, but not all is well: {named}."
        if not said and all(check.verdict is Verdict.PENDING for check in broken):
            return f"{who} is waking up, no result yet of: {named}."
        return f"{who} is not well: {named}."

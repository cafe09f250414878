"""Splits the settings between the application's process and that of its plane."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from petsage_grpc.checks.heartbeat import HeartbeatCheck
from petsage_grpc.core.passive import PassiveCheck
from petsage_grpc.core.policy import Policy
from petsage_grpc.plane.relay import ASKED, BEATEN, TOLD
from petsage_grpc.settings import CheckSettings, Settings

__all__ = ["checks_here", "table_for"]

_POLICY = {field.name for field in fields(Policy)}


def checks_here(settings: Settings) -> dict[str, CheckSettings]:
    """Find the checks that look at the application's own process, and so have to run in it."""
    return {n: made for n, made in settings.checks.items() if made.check.in_application}


def table_for(settings: Settings, table: Mapping[str, Any]) -> dict[str, Any]:
    """Make the table for the plane's process: checks of the application stand for themselves.

    Args:
        settings: what the table means.
        table: as it was loaded.
    """
    given = table.get(
        "checks", {name: {"kind": made.kind} for name, made in settings.checks.items()}
    )
    checks = {}
    for name, raw in given.items():
        check = settings.checks[name].check
        policy = {key: value for key, value in raw.items() if key in _POLICY}
        policy["gates"] = list(settings.checks[name].policy.gates)
        if isinstance(check, PassiveCheck):
            kind = BEATEN if isinstance(check, HeartbeatCheck) else TOLD
            checks[name] = {"kind": kind, "max_silence": check.max_silence, **policy}
        elif check.in_application:
            checks[name] = {"kind": ASKED, **policy}
        else:
            checks[name] = dict(raw)
    return {**table, "checks": checks}

"""Says which settings can take a whole fleet down, so that nobody learns it from his own."""

from collections.abc import Collection, Mapping

from petsage_grpc.core.fold import READINESS
from petsage_grpc.settings import CheckSettings

__all__ = ["fleet_risks"]


def fleet_risks(
    checks: Mapping[str, CheckSettings], groups: Mapping[str, Collection[str]]
) -> list[str]:
    """Say which checks take every replica out of rotation at once, one line for each."""
    return [
        f"check {name} is shared by all replicas and gates {', '.join(taken)}:"
        " when it fails, all of them leave rotation at once (docs/gates.md)"
        for name, check in checks.items()
        if check.policy.shared
        and (
            taken := [gate for gate in check.policy.gates if gate == READINESS]
            + [group for group, needed in groups.items() if name in needed]
        )
    ]

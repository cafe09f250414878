"""A policy that contradicts itself is refused, by the name of the setting."""

from typing import Any

import pytest

from petsage_grpc.core.policy import Policy


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"interval": 0.0}, "interval must be longer than 0"),
        ({"timeout": -1.0}, "timeout must be longer than 0"),
        ({"timeout": float("nan")}, "timeout must be longer than 0"),
        ({"edge_interval": 0.0}, "edge_interval must be longer than 0"),
        ({"jitter": 1.0}, "jitter must be at least 0 and below 1"),
        ({"jitter": -0.1}, "jitter must be at least 0 and below 1"),
        ({"fall": 0}, "fall must be at least 1"),
        ({"rise": 0}, "rise must be at least 1"),
        ({"gates": ("readyness",)}, "gates: 'readyness' is none of readiness, liveness, startup"),
        ({"stale_after": 12.0}, "stale_after must be longer than an interval"),
    ],
)
def test_nonsense_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        Policy(**settings)


def test_the_defaults_are_those_of_the_contract() -> None:
    policy = Policy()
    assert (policy.interval, policy.timeout) == (10.0, 2.0)
    assert (policy.jitter, policy.edge_interval) == (0.1, 1.0)
    assert (policy.fall, policy.rise, policy.gates) == (3, 2, ("readiness", "startup"))
    assert policy.believed_for == 3 * 10 + 2

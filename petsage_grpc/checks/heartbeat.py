"""Knows whether a part of the application is alive: it beats, and fails when it falls silent."""

from dataclasses import dataclass, field

from petsage_grpc.core.passive import PassiveCheck
from petsage_grpc.core.units import Duration

__all__ = ["HeartbeatCheck"]


@dataclass(kw_only=True, eq=False)
class HeartbeatCheck(PassiveCheck):
    """Fails when the application has not beaten for too long: its loop, a pool, a worker."""

    max_silence: Duration = field(
        default=Duration(10.0), metadata={"help": "time without a beat that is still no failure"}
    )

    def __post_init__(self) -> None:
        """Refuse what can never pass."""
        if not 0 < self.max_silence < float("inf"):
            raise ValueError('max_silence must be longer than 0, and end: write it like "10s"')

    def beat(self) -> None:
        """Say that all is well; from any thread, and as often as one likes."""
        self.report()

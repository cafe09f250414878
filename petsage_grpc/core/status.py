"""Our own words for health, so that only the edge knows those of the wire."""

import enum

__all__ = ["Health", "Status", "Verdict"]


class Status(enum.Enum):
    """What one health name answers."""

    SERVING = "SERVING"
    NOT_SERVING = "NOT_SERVING"
    SERVICE_UNKNOWN = "SERVICE_UNKNOWN"
    """Nobody has registered that name (yet)."""


class Verdict(enum.Enum):
    """What one check says now, its age taken into account."""

    PENDING = "pending"
    """It has had no result yet."""
    PASSING = "passing"
    FAILING = "failing"
    STALE = "stale"
    """Its last result is too old to be believed, whatever it said."""


class Health(enum.Enum):
    """What the smoke test says of all checks together."""

    OK = "ok"
    DEGRADED = "degraded"
    """Something is wrong that takes nobody out of rotation."""
    FAILING = "failing"

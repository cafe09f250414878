"""Breaks the cycles of services that check each other: what leads back to who asks is left out.

Without this two that wait for each other would stay NOT_SERVING for ever, though all is well.
"""

from collections.abc import Collection, Iterable
from typing import Final, Protocol

from petsage_grpc.core.check import Check
from petsage_grpc.core.hops import (
    HOPS,
    REACHES,
    format_reaches,
    is_backend,
    merge,
    parse_hops,
)
from petsage_grpc.rpc._requests import Context

__all__ = ["HOPS", "HopContext", "Hops", "Metadata"]

Metadata = Iterable[tuple[str, str | bytes]]

_FIRST_HOP: Final = 1


class HopContext(Context, Protocol):
    """What we use besides of the context of a call that has the header."""

    def invocation_metadata(self) -> Metadata | None:
        """Return the headers of the call."""

    def set_trailing_metadata(self, trailing_metadata: Metadata) -> None:
        """Say which trailers end the call."""


class Hops:
    """Knows who asks, and where the checks of this service lead.

    Args:
        backend: the name of this service among those that check each other; none if empty.
        checks: its checks.
    """

    def __init__(self, backend: str = "", checks: Collection[Check] = ()) -> None:
        if backend and not is_backend(backend):
            raise ValueError(f"{backend!r} can not name a backend")
        self._own = {backend: 0} if backend else {}
        self._checks = checks

    def read(self, metadata: Metadata | None) -> frozenset[str]:
        """Say which backends ask."""
        return parse_hops(value for name, value in metadata or () if name == HOPS)

    def tell(self) -> tuple[tuple[str, str], ...]:
        """Make the trailer that says where an answer of this service comes from."""
        reached = merge([self._own, *map(_distances, self._checks)])
        return ((REACHES, format_reaches(reached)),)


def _distances(check: Check) -> dict[str, int]:
    """Say how far the backends are that a check leads to."""
    known = getattr(check, "distances", {})
    return {backend: known.get(backend, _FIRST_HOP) for backend in check.reaches}

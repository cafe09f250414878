"""How long a backend that starts has to wait for its first SERVING, checks and all."""

from functools import partial

from processes import AIO, OURS, alternate, running
from report import Row, Target, main

__all__ = ["rows"]


def rows(*, quick: bool) -> list[Row]:
    """Compare with the stock aio servicer, which has nothing to check."""
    taken = alternate({kind: partial(_start, kind) for kind in (AIO, OURS)}, 2 if quick else 25)
    return [Row("cold start", "ms", AIO, taken[AIO], taken[OURS], Target(at_most=1.5))]


def _start(kind: str) -> float:
    with running(kind) as server:
        return server.cold_start * 1e3


if __name__ == "__main__":
    main({"cold start": rows})

"""How many Check calls a second: a health plane must not be what a prober waits for."""

from load import take_rounds
from processes import AIO, OURS, SYNC
from report import Row, Target, main

__all__ = ["rows"]


def rows(*, quick: bool) -> list[Row]:
    """Compare with both stock servicers."""
    rates = take_rounds(quick=quick).rates
    target = Target(at_least=1.0)
    return [
        Row("Check throughput", "calls/s", AIO, rates[AIO], rates[OURS], target),
        Row("Check throughput", "calls/s", SYNC, rates[SYNC], rates[OURS]),
    ]


if __name__ == "__main__":
    main({"Check throughput": rows})

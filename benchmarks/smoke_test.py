"""How many SmokeTest calls a second: the whole story must not cost much more than a word."""

from load import SMOKE_TEST, take_rounds
from processes import OURS
from report import Row, Target, main

__all__ = ["rows"]


def rows(*, quick: bool) -> list[Row]:
    """Compare with our own Check."""
    rates = take_rounds(quick=quick).rates
    target = Target(at_least=0.7)
    return [
        Row("SmokeTest throughput", "calls/s", "our Check", rates[OURS], rates[SMOKE_TEST], target)
    ]


if __name__ == "__main__":
    main({"SmokeTest throughput": rows})

"""How much CPU a Check takes from the application that the health plane stands beside."""

from load import take_rounds
from processes import AIO, OURS, SYNC
from report import Row, Target, main

__all__ = ["rows"]


def rows(*, quick: bool) -> list[Row]:
    """Compare with both stock servicers."""
    cpu = take_rounds(quick=quick).cpu
    target = Target(at_most=1.0)
    return [
        Row("CPU per Check", "us", AIO, cpu[AIO], cpu[OURS], target),
        Row("CPU per Check", "us", SYNC, cpu[SYNC], cpu[OURS]),
    ]


if __name__ == "__main__":
    main({"CPU per Check": rows})

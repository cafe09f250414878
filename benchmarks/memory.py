"""How much memory a health plane keeps: it stands beside every backend, on every node."""

from load import take_rounds
from processes import AIO, OURS, Memory
from report import Row, Target, main

__all__ = ["rows"]


def rows(*, quick: bool) -> list[Row]:
    """Compare with the stock aio servicer before the load and after it."""
    taken = take_rounds(quick=quick)
    return [*_compare("idle", taken.idle), *_compare("after the load", taken.loaded)]


def _compare(when: str, memory: dict[str, Memory]) -> list[Row]:
    ours, reference = memory[OURS], memory[AIO]
    resident, target = [ours.resident], Target(at_most=1.25)
    rows = [Row(f"memory (RSS) {when}", "MiB", AIO, [reference.resident], resident, target)]
    if ours.proportional is not None and reference.proportional is not None:
        proportional = [ours.proportional]
        rows.append(Row(f"memory (PSS) {when}", "MiB", AIO, [reference.proportional], proportional))
    return rows


if __name__ == "__main__":
    main({"memory": rows})

"""How long it takes until a watcher knows of a fault, and of its end: an outage counts from there.

`make bench-detection` takes all 20 samples of each fault, several faults at a time, in one service.
"""

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc.aio
from detection_faults import Fault, prepare_faults
from processes import HERE, checking
from report import BenchError, Line, json_number, main

from petsage_grpc.core.policy import Policy
from petsage_grpc.core.units import Duration
from petsage_grpc.rpc.stubs import SmokeTestRequest, SmokeTestServiceStub
from tests.observers import TOLERANCE, Watcher, failing_bound, observing, recovery_bound

__all__ = ["rows"]

_POLICY: Final = Policy(
    interval=Duration(0.5), timeout=Duration(0.2), edge_interval=Duration(0.2), fall=3, rise=2
)
_SAMPLES: Final = 20
_AT_ONCE: Final = 3
"""Faults at a time: more would wait for the processor, not for the service."""
_LATE: Final = 5.0
"""Seconds that are waited beyond a bound before it is given up."""


@dataclass(frozen=True)
class Turn(Line):
    """How long after something had happened the watcher saw it."""

    header = ("fault", "check", "from, to", "unit", "bound", "p50", "max", "of", "verdict")

    fault: str
    check: str
    between: str
    """From what to what it is."""
    bound: float
    """Seconds; the least that can be promised."""
    samples: Sequence[float]
    said: str = ""
    """What the check said was wrong."""

    @property
    def met(self) -> bool:
        """Whether every sample is within the bound, but for the time that seeing takes."""
        return max(self.samples) <= self.bound + TOLERANCE

    def cells(self) -> tuple[str, ...]:
        """Write the line for the table."""
        verdict = f"{'met' if self.met else 'NOT met'} (+ {TOLERANCE * 1e3:g} ms)"
        return *self.readme_cells(), str(len(self.samples)), verdict

    def readme_cells(self) -> tuple[str, ...]:
        """Write the line for the README."""
        times = (self.bound, statistics.median(self.samples), max(self.samples))
        return (
            self.fault, self.check, self.between, "s",
            *(f"{json_number(seconds):.2f}" for seconds in times),
        )  # fmt: skip

    def as_json(self) -> dict[str, object]:
        """Write the line for a file, with every sample."""
        return {
            "fault": self.fault,
            "check": self.check,
            "from_to": self.between,
            "unit": "s",
            "bound": self.bound,
            "tolerance": TOLERANCE,
            "p50": json_number(statistics.median(self.samples)),
            "max": json_number(max(self.samples)),
            "met": self.met,
            "said": self.said,
            "samples": [json_number(sample) for sample in self.samples],
        }


def rows(*, quick: bool) -> list[Turn]:
    """Inject every fault again and again, and end it again."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="detection-")))
        ground, faults = prepare_faults(stack, folder)
        server = stack.enter_context(checking(_settings(faults), before=ground.command()))
        ground.pid = server.pid
        return asyncio.run(_measure_all(server.address, faults, 1 if quick else _SAMPLES))


def _settings(faults: Mapping[str, Fault]) -> str:
    """Give each check a name of its own that is SERVING while it passes."""
    lines = ['details = "always"']
    for name, fault in faults.items():
        lines += [f"[checks.{name}]", f'kind = "{fault.kind}"', fault.settings]
        for key in ("interval", "timeout", "edge_interval", "fall", "rise"):
            lines.append(f"{key} = {getattr(_POLICY, key):g}")
    return "\n".join([*lines, "[groups]", *(f'{name} = ["{name}"]' for name in faults)]) + "\n"


async def _measure_all(address: str, faults: Mapping[str, Fault], times: int) -> list[Turn]:
    watchers = {name: Watcher(address, name) for name in faults}
    lanes = asyncio.Semaphore(_AT_ONCE)

    async def measure(name: str, fault: Fault) -> list[Turn]:
        async with lanes:
            return await _measure(address, name, fault, watchers[name], times)

    try:
        async with observing(*watchers.values()), asyncio.TaskGroup() as group:
            tasks = [group.create_task(measure(*item)) for item in faults.items()]
    except* BenchError as errors:
        raise BenchError("; ".join(map(str, errors.exceptions))) from None
    except* grpc.aio.AioRpcError as errors:
        raise BenchError(f"the service does not answer: {errors.exceptions[0]}") from None
    return [turn for task in tasks for turn in task.result()]


async def _measure(
    address: str, name: str, fault: Fault, watcher: Watcher, times: int
) -> list[Turn]:
    lost, found, said = [], [], ""
    for _ in range(times):
        lost.append(await _time(name, fault.inject, watcher, healthy=False))
        said = await _ask_why(address, name)
        if fault.says not in said:
            raise BenchError(f"{name}: the check says something else: {said}")
        found.append(await _time(name, fault.mend, watcher, healthy=True))
    return [
        Turn(fault.words, fault.kind, "fault, NOT_SERVING", failing_bound(_POLICY), lost, said),
        Turn(fault.words, fault.kind, "mend, SERVING", recovery_bound(_POLICY), found),
    ]


async def _time(name: str, do: Callable[[], object], watcher: Watcher, *, healthy: bool) -> float:
    """Do something at a moment that chance chooses; return the seconds until it was seen."""
    await watcher.sight(0)
    await asyncio.sleep(random.uniform(0, _POLICY.interval))
    number = len(watcher.sights)
    if watcher.sights[-1].healthy == healthy:
        raise BenchError(f"{name} turned by itself")
    before = time.monotonic()
    await asyncio.to_thread(do)
    at = time.monotonic() if healthy else before  # a server that starts is not there yet
    bound = recovery_bound(_POLICY) if healthy else failing_bound(_POLICY)
    sight = await watcher.sight(number, at + bound + _LATE)
    if sight is None:
        raise BenchError(f"{name} did not turn {_LATE:g} s after its bound")
    return max(0.0, sight.at - at)


async def _ask_why(address: str, name: str) -> str:
    async with grpc.aio.insecure_channel(address) as channel:
        request = SmokeTestRequest(checks=[name])
        answer = await SmokeTestServiceStub(channel).SmokeTest(request, timeout=_LATE)
        return answer.checks[0].detail


if __name__ == "__main__":
    main({"detection": rows}, HERE / "detection.json")

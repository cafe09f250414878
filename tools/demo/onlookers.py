"""Those who look on while dependencies are hurt, and by when each must have seen what."""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dependencies import Dependency
from timeline import Timeline, say

from petsage_grpc.core.policy import Policy
from tests.observers import (
    Observer,
    Prober,
    SmokeTester,
    Watcher,
    failing_bound,
    observing,
    recovery_bound,
)
from tests.processes import PETSAGE

__all__ = ["Stage"]

_KUBELET: Final = Path(__file__).parents[2] / "tests" / "clients" / "bin" / "kubelet-prober"

_SMOKE_PERIOD: Final = 0.1
_PROBE_TIME: Final = 0.25
"""Seconds that a probe may take: it is a process of its own."""
_START_LIMIT: Final = 15.0
"""Seconds until everybody must have seen that all is well."""
_LATE: Final = 2.0
"""Seconds that are waited beyond a bound, to tell what comes late from what never comes."""


@dataclass(frozen=True)
class _Onlooker:
    name: str
    observer: Observer
    lag: float = 0.0
    """Seconds that may pass until they see what is so: they ask now and then, or take time."""
    names_checks: bool = False


class Stage:
    """The place where it happens: a service, and those who look on.

    Args:
        address: where the service listens.
        policy: that of all its checks.
        probe_period: seconds from probe to probe.
        tolerance: seconds that seeing may take.
    """

    def __init__(self, address: str, policy: Policy, probe_period: float, tolerance: float) -> None:
        self._policy = policy
        self._probe_period = probe_period
        self._tolerance = tolerance
        self._liveness = Watcher(address, "liveness")
        prober, command = _find_prober(address)
        self._onlookers = [
            _Onlooker("watcher", Watcher(address, "readiness")),
            _Onlooker(
                "SmokeTest", SmokeTester(address, _SMOKE_PERIOD), _SMOKE_PERIOD, names_checks=True
            ),
            _Onlooker(prober, Prober(command, probe_period), probe_period + _PROBE_TIME),
        ]

    async def play(self, dependencies: Mapping[str, Dependency]) -> bool:
        """Hurt each dependency; return whether all was seen as it should be."""
        self._explain()
        observers = [onlooker.observer for onlooker in self._onlookers]
        async with observing(self._liveness, *observers):
            await self._wait_until_well()
            timeline, before = Timeline(), [len(observer.sights) for observer in observers]
            for name, dependency in dependencies.items():
                await self._hurt(name, dependency, timeline)
        for onlooker, had in zip(self._onlookers, before, strict=True):
            turns = len(onlooker.observer.sights) - had
            timeline.judge(f"the {onlooker.name} saw it turn", turns, 4 * len(dependencies))
        timeline.judge("liveness turned", len(self._liveness.sights) - 1, 0)
        timeline.sum_up()
        return not timeline.bad

    def _explain(self) -> None:
        policy = self._policy
        say(
            f"\nevery check: interval {policy.interval:g}s, timeout {policy.timeout:g}s,"
            f" edge_interval {policy.edge_interval:g}s, fall {policy.fall}, rise {policy.rise}\n"
            "bounds: interval + (fall - 1) x edge_interval + timeout ="
            f" {failing_bound(policy):g}s after a fault,\n"
            "        interval + (rise - 1) x edge_interval + timeout ="
            f" {recovery_bound(policy):g}s after the mend,\n"
            f"        {self._tolerance * 1e3:g}ms more to see it; SmokeTest is asked every"
            f" {_SMOKE_PERIOD * 1e3:g}ms; a probe begins every {self._probe_period:g}s and may take"
            f" {_PROBE_TIME * 1e3:g}ms\n"
        )

    async def _wait_until_well(self) -> None:
        async with asyncio.timeout(_START_LIMIT):
            for onlooker in self._onlookers:
                number = 0
                while not (sight := await onlooker.observer.sight(number)) or not sight.healthy:
                    number += 1

    async def _hurt(self, name: str, dependency: Dependency, timeline: Timeline) -> None:
        server = dependency.server
        with contextlib.ExitStack() as freezer:
            for words, do, healthy in (
                ("killed (kill -9)", server.kill, False),
                ("revived", server.start, True),
                ("stopped (SIGSTOP)", lambda: freezer.enter_context(server.frozen()), False),
                ("continued (SIGCONT)", freezer.close, True),
            ):
                # Chance chooses the moment, so that no event falls into step with the runs.
                await asyncio.sleep(random.uniform(0, self._policy.interval / 2))
                numbers = [len(onlooker.observer.sights) for onlooker in self._onlookers]
                at = await _do(do, healthy=healthy)
                timeline.event(f"{name} is {words}", at)
                expected = (healthy, () if healthy else (name,))
                await asyncio.gather(
                    *(
                        self._look(onlooker, number, at, expected, timeline)
                        for onlooker, number in zip(self._onlookers, numbers, strict=True)
                    )
                )

    async def _look(
        self, onlooker: _Onlooker, number: int, at: float,
        expected: tuple[bool, tuple[str, ...]], timeline: Timeline,
    ) -> None:  # fmt: skip
        """Wait until an onlooker has seen it, or should have."""
        healthy, names = expected
        bound = (recovery_bound if healthy else failing_bound)(self._policy)
        bound += self._tolerance + onlooker.lag
        sight = await onlooker.observer.sight(number, at + bound + _LATE)
        right = sight is not None and sight.healthy == healthy
        if sight is not None and onlooker.names_checks:
            right = right and sight.names == names
        timeline.saw(onlooker.name, sight, since=at, bound=bound, right=right)


async def _do(do: Callable[[], object], *, healthy: bool) -> float:
    """Do it; return the moment from which on it is so."""
    before = time.monotonic()
    await asyncio.to_thread(do)
    return time.monotonic() if healthy else before


def _find_prober(address: str) -> tuple[str, list[str]]:
    """Return who probes, the kubelet's own prober if it is there, and the command."""
    if _KUBELET.exists():
        host, _, port = address.rpartition(":")
        options = ["-host", host, "-port", port, "-service", "readiness"]
        return "kubelet's prober", [str(_KUBELET), *options]
    say("  the kubelet's own prober is not built (make clients, needs Go): ours stands in for it")
    return "petsage-grpc probe", [*PETSAGE, "probe", "-addr", address, "-service", "readiness"]

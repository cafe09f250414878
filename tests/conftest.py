"""What the tests of every room share."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

# grpc's handlers of a fork end a child that is to run as another user, as PostgreSQL's must.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")


def pytest_xdist_auto_num_workers() -> int:
    """Say how many workers run the tests: most tests wait for another process, so two a core."""
    return 2 * (os.cpu_count() or 1)


@dataclass(order=True)
class _Due:
    at: float
    order: int
    callback: Callable[[], None] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        self.cancelled = True


class ManualClock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.time = 1000.0
        self._due: list[_Due] = []
        self._order = 0

    def now(self) -> float:
        return self.time

    def wall_time(self) -> float:
        return 1_700_000_000.0 + self.time

    def call_later(self, delay: float, callback: Callable[[], None]) -> _Due:
        self._order += 1
        due = _Due(self.time + delay, self._order, callback)
        self._due.append(due)
        return due

    def jump(self, seconds: float) -> None:
        """Let time pass without any timer being served, as when the process is stopped."""
        self.time += seconds

    async def advance(self, seconds: float) -> None:
        """Let time pass; timers are served in their order and tasks run as far as they can."""
        end = self.time + seconds
        await settle()
        while self._due and min(self._due).at <= end:
            due = min(self._due)
            self._due.remove(due)
            self.time = max(self.time, due.at)
            if not due.cancelled:
                due.callback()
            await settle()
        self.time = end


async def settle() -> None:
    """Let every task run until it waits for something outside of the loop."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()

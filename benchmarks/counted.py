"""Functions for checks of the kind python: they cost next to nothing, and write down their runs."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Final

__all__ = ["CHECKS", "RUNS", "nothing"]

CHECKS: Final = 10
"""So many functions run_0, run_1 … there are."""
RUNS: Final = "runs"
"""The file in the working directory where they write: the number, and the monotonic time."""

_LASTS: Final = 0.01
"""Seconds that a run takes, so that callers meet it under way."""


async def nothing() -> None:
    """Pass."""


def _make(number: int) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        file = os.open(RUNS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, f"{number} {time.monotonic()}\n".encode())
        os.close(file)
        await asyncio.sleep(_LASTS)

    return run


globals().update({f"run_{number}": _make(number) for number in range(CHECKS)})

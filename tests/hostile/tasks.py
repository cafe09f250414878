"""Tells how many tasks the service has on its loop: it runs there, as a check of its own."""

import asyncio
import os
from pathlib import Path
from typing import Final

__all__ = ["NAME", "VARIABLE", "tell"]

VARIABLE: Final = "SOAK_TASKS"
"""Names the file that it is written to."""
NAME: Final = f"{__name__}:tell"
"""What a check of the kind python calls."""


async def tell() -> None:
    """Write their number, at once as a whole."""
    path = Path(os.environ[VARIABLE])
    fresh = path.with_suffix(".new")
    fresh.write_text(f"{len(asyncio.all_tasks())}")
    fresh.replace(path)

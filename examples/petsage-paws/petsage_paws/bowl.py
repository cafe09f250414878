"""The kind `bowl`: has somebody filled it lately?"""

import asyncio
import os
import time
from dataclasses import dataclass, field
from typing import ClassVar

from petsage_grpc import Check, CheckFailedError, Duration

__all__ = ["BowlCheck"]


@dataclass(kw_only=True)
class BowlCheck(Check):
    """Fails when a file has not been written for too long, such as that of a nightly backup."""

    outside: ClassVar[bool] = False  # a file is of this machine

    file: str = field(metadata={"help": "the file that is to be written again and again"})
    max_age: Duration = field(
        default=Duration(24 * 3600.0),
        metadata={"help": "time since when it must have been written"},
    )

    def __post_init__(self) -> None:
        """Refuse what can never pass, in words that begin with the name of the setting."""
        if not self.max_age > 0:
            raise ValueError('max_age must be longer than 0: write it like "26h"')

    async def run(self) -> None:
        """Look when the file was written."""
        self.doing = f"looking at {self.file}"  # told when it takes too long
        try:
            written = (await asyncio.to_thread(os.stat, self.file)).st_mtime
        except OSError as error:
            raise CheckFailedError(f"{self.file}: {error.strerror}") from error
        age = time.time() - written
        if age > self.max_age:
            raise CheckFailedError(f"{self.file} was written {age:.0f} s ago: is its writer alive?")

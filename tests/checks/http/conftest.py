"""What a server has heard of the HTTP check."""

from typing import Any

from petsage_grpc.checks.http import HttpCheck
from tests.checks.conftest import passes

TOKEN = "hunter2-hunter2"


class _Recorder:
    """A pattern that is found in whatever it is given, and keeps that."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def search(self, text: str) -> bool:
        self.found.append(text)
        return True


async def said_back(check: HttpCheck) -> str:
    """Return the body of the answer, where the server echoes what it has heard."""
    recorder: Any = _Recorder()
    check.pattern = recorder
    await passes(check)
    return str(recorder.found[0])

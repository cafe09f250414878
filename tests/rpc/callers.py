"""What the tests of authorisation share: tokens, who sends them, and what he was told."""

from pathlib import Path
from typing import Any

from petsage_grpc.rpc import stubs as pb
from tests.rpc.conftest import Backend

OLD, NEW = "0ld-token-0123456789", "n3w-token-0123456789"
WRONG = "wr0ng-token-0123456789"


def bearer(token: str) -> tuple[str, str]:
    return ("authorization", f"Bearer {token}")


async def ask(backend: Backend, *headers: tuple[str, str], **request: Any) -> pb.SmokeTestResponse:
    return await backend.smoke.SmokeTest(pb.SmokeTestRequest(**request), metadata=headers)


def knows_all(answer: pb.SmokeTestResponse) -> bool:
    """Say whether an answer has details; it has all or none."""
    (check,) = (check for check in answer.checks if check.name == "disk")
    told = {bool(check.detail), bool(check.history)}
    assert len(told) == 1
    return told.pop()


def write_tokens(folder: Path) -> Path:
    """Write a file with two tokens, one of them twice, and space around them."""
    path = folder / "tokens"
    path.write_text(f"\n  {OLD}\t\r\n\n{NEW}\n{OLD}\n")
    path.chmod(0o600)
    return path

"""The example of FastAPI under uvicorn: its loop can be blocked, and its health is still told."""

import asyncio
import signal
from collections.abc import Iterator

import httpx
import pytest

from tests.examples.conftest import (
    LONG_NAP,
    assert_answers,
    assert_drains,
    example,
    failing_checks,
    wait_until,
    watching,
)
from tests.processes import PATIENCE, Served

COMMAND = ("fastapi-uvicorn", "--port=0")
LOAD = 30
"""Requests of each of the clients."""
CLOSE = {"connection": "close"}


def cats(process: Served) -> str:
    return process.wait_for(r"running on (http://\S+)")[1]


@pytest.fixture(scope="module")
def running(isolation: str) -> Iterator[Served]:
    with example(*COMMAND, f"--isolation={isolation}") as process:
        wait_until(process.address, "readiness")
        yield process


def test_the_kubelet_and_grpcurl_are_answered(running: Served) -> None:
    assert_answers(running)
    assert httpx.get(f"{cats(running)}/purr?name=Tom").json() == "Tom purrs."


async def test_a_blocked_loop_turns_readiness_and_liveness_until_it_goes_on(
    running: Served,
) -> None:
    address = running.address
    with watching(address, "readiness") as readiness, watching(address, "liveness") as liveness:
        assert (next(readiness), next(liveness)) == ("SERVING", "SERVING")
        async with httpx.AsyncClient(timeout=PATIENCE) as client, asyncio.TaskGroup() as group:
            nap = group.create_task(client.get(f"{cats(running)}/nap?seconds={LONG_NAP}"))
            turned = await asyncio.to_thread(lambda: (next(readiness), next(liveness)))
            assert turned == ("NOT_SERVING", "NOT_SERVING")
            assert await asyncio.to_thread(failing_checks, address) == ["loop"]
        assert nap.result().json() == f"{LONG_NAP} s asleep."
        assert (next(readiness), next(liveness)) == ("SERVING", "SERVING")


async def test_a_drain_loses_no_request(isolation: str) -> None:
    arguments = [f"--isolation={isolation}", "--max-silence=10"]
    with example(*COMMAND, *arguments, PETSAGE_DRAIN_DELAY="20") as process:
        url = f"{cats(process)}/purr"
        begun = asyncio.Event()

        async def ask() -> list[int]:
            """Ask again and again, each time by a connection of its own as new callers do."""
            answers = []
            async with httpx.AsyncClient(timeout=PATIENCE, headers=CLOSE) as client:
                for _ in range(LOAD):
                    answers.append((await client.get(url)).status_code)
                    begun.set()
            return answers

        async with asyncio.TaskGroup() as group:
            load = [group.create_task(ask()) for _ in range(2)]
            await begun.wait()
            process.signal(signal.SIGTERM)
            await asyncio.to_thread(assert_drains, process)
        assert [task.result() for task in load] == [[200] * LOAD] * 2
        process.signal(signal.SIGTERM)  # cuts the rest of the drain short
        assert process.end() == -signal.SIGTERM  # as uvicorn ends
    assert any("Application shutdown complete" in line for line in process.lines)

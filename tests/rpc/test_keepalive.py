"""Who is gone without a word is noticed, though nothing that it could say tells of it."""

import asyncio

import pytest

from petsage_grpc.rpc import limits
from tests.rpc.limited import Caller, limited


async def test_a_watcher_that_answers_no_ping_is_hung_up_on_and_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "_KEEPALIVE_TIME_MS", 50)
    monkeypatch.setattr(limits, "_KEEPALIVE_TIMEOUT_MS", 50)
    async with limited() as made, await Caller.connect(made.address) as silent:
        assert await silent.watch() is None
        assert made.health.granted == 1
        while made.health.granted:  # nobody answers the pings that arrive from now on
            await asyncio.sleep(0)
        assert b"ping_timeout" in await silent.ended()

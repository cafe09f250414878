"""The application's own checks, beside a plane in a process of its own, run in the application."""

import datetime
import logging
import os
import threading
from pathlib import Path

import pytest

from petsage_grpc import CheckFailedError
from petsage_grpc.rpc import stubs
from tests.plane.planes import (
    NOT_SERVING,
    QUICK,
    SERVING,
    apart,
    result_of,
    running,
)
from tests.processes import PATIENCE


def test_functions_run_in_the_application() -> None:
    plane = apart()
    ran: list[tuple[str, int]] = []
    broken = threading.Event()

    @plane.check("sync", **QUICK)
    def sync() -> None:
        ran.append(("sync", os.getpid()))
        if broken.is_set():
            raise CheckFailedError("the cache is cold")

    @plane.check("async", **QUICK)
    async def coroutine() -> None:
        ran.append(("async", os.getpid()))

    with running(plane) as client:
        client.becomes(SERVING)
        assert set(ran) == {("sync", os.getpid()), ("async", os.getpid())}
        broken.set()
        client.becomes(NOT_SERVING)


def test_functions_that_are_declared_later_run_there_too() -> None:
    plane, ran = apart(), threading.Event()
    with running(plane) as client:
        client.becomes(SERVING)
        plane.check("late", **QUICK)(ran.set)
        assert ran.wait(PATIENCE)


def test_why_a_function_fails_is_told() -> None:
    plane = apart(details="always")

    @plane.check("cache", **QUICK)
    def cache() -> None:
        raise ValueError("it is\ncold")

    with running(plane) as client:
        client.becomes(SERVING, "liveness")
        answer = client.smoke(checks=["cache"], max_age=datetime.timedelta())
        assert answer.checks[0].detail == "ValueError: it is\\ncold"


def test_a_function_that_hangs_is_not_started_again_until_it_returns() -> None:
    plane = apart(details="always")
    let_go, began = threading.Event(), threading.Semaphore(0)
    starts = []

    @plane.check("cache", timeout=0.05, **QUICK)
    def cache() -> None:
        starts.append(1)
        began.release()
        let_go.wait(PATIENCE)

    try:
        with running(plane) as client:
            assert began.acquire(timeout=PATIENCE)
            while result_of(client, "cache").consecutive_failures < 3:
                pass
            assert len(starts) == 1
            assert "while waiting for" in result_of(client, "cache").detail
            let_go.set()
            assert began.acquire(timeout=PATIENCE), "it is started again once it has returned"
            client.becomes(SERVING)
    finally:
        let_go.set()


def test_the_checks_that_look_at_the_application_run_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "myapp_pid.py").write_text("import os\ndef pid(): raise ValueError(os.getpid())\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    checks = {"log": {"kind": "log"}, "mine": {"kind": "python", "function": "myapp_pid:pid"}}
    with running(apart(checks=checks, details="always")) as client:
        while not result_of(client, "mine").detail:
            pass
        assert result_of(client, "mine").detail == f"ValueError: {os.getpid()}"
        logging.getLogger().setLevel(logging.INFO)
        while result_of(client, "log").status != stubs.STATUS_OK:
            client.smoke(checks=["log"], max_age=datetime.timedelta())


def test_whatever_a_function_raises_is_told() -> None:
    plane = apart(details="always")

    class Odd(BaseException):
        """No Exception."""

    @plane.check("sync", **QUICK)
    def sync() -> None:
        raise Odd("one")

    @plane.check("async", **QUICK)
    async def coroutine() -> None:
        raise Odd("two")

    with running(plane) as client:
        answer = client.smoke(datetime.timedelta(), ["sync", "async"])
        told = {result.name: result.detail for result in answer.checks}
    assert told["async"] == "Odd: two"
    assert "Odd" in told["sync"]


def test_an_async_check_that_blocks_is_no_reason_to_restart_the_application() -> None:
    plane = apart(max_silence=0.5)
    began, let_go = threading.Event(), threading.Event()

    @plane.check("rude", gates=[], timeout=0.1)
    async def rude() -> None:
        began.set()
        let_go.wait(PATIENCE)

    with running(plane) as client:
        client.becomes(SERVING, "liveness")
        assert began.wait(PATIENCE)
        lost = threading.Timer(1.0, let_go.set)  # twice the silence that would be a loss
        lost.start()
        while not let_go.is_set():
            assert client.check("liveness") == SERVING
        lost.join()


def test_a_run_that_is_given_up_before_it_began_is_over() -> None:
    plane, blocked, free = apart(), threading.Event(), threading.Event()

    with running(plane) as client:
        client.becomes(SERVING)

        @plane.check("quick", timeout=0.2, fall=1, rise=1, **QUICK)
        async def quick() -> None: ...

        @plane.check("slow", timeout=0.2, gates=[], interval=60)
        async def blocks_the_loop() -> None:
            blocked.set()
            free.wait(PATIENCE)

        assert blocked.wait(PATIENCE)
        client.becomes(NOT_SERVING)
        free.set()
        client.becomes(SERVING)

"""The plane in a process of its own: what the application says, does and runs reaches it."""

import contextlib
import datetime
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from petsage_grpc import BindError, CheckFailedError, HealthPlane, SettingsError
from petsage_grpc.core.passive import PassiveCheck
from petsage_grpc.rpc import stubs
from tests.plane.asking import Asking
from tests.plane.planes import (
    NOT_SERVING,
    QUICK,
    QUIET,
    SERVICE_UNKNOWN,
    SERVING,
    application,
    planes_of,
    running,
)
from tests.processes import PATIENCE


def make(**settings: Any) -> HealthPlane:
    return HealthPlane.from_settings(isolation="process", **(QUIET | settings))


@pytest.fixture
def plane() -> HealthPlane:
    return make()


@pytest.fixture
def client(plane: HealthPlane) -> Iterator[Asking]:
    with running(plane) as client:
        client.becomes(SERVING)
        yield client


def result_of(client: Asking, name: str) -> stubs.CheckResult:
    (result,) = client.smoke(checks=[name]).checks
    return result


def test_the_process_of_the_application_is_a_heartbeat_of_its_own(client: Asking) -> None:
    answer = client.smoke()
    assert [check.name for check in answer.checks] == ["application"]
    assert "liveness" in answer.checks[0].gates


def test_the_application_needs_no_grpc() -> None:
    code = """
import sys
from petsage_grpc import HealthPlane
with HealthPlane.from_settings(isolation="process", listen="127.0.0.1:0", checks={}) as plane:
    print("grpc:", [name for name in sys.modules if name.split(".")[0] in ("grpc", "google")])
"""
    with application(code) as app:
        assert app.says("grpc:") == "[]"


def test_what_is_said_before_and_after_the_start_is_answered(plane: HealthPlane) -> None:
    plane.set("before", serving=True)
    with running(plane) as client:
        plane.set("after", serving=False, reason="migrating")
        client.becomes(NOT_SERVING, "after")
        client.becomes(SERVING, "before")
        plane.set("after", serving=True)
        client.becomes(SERVING, "after")
        plane.clear("after")
        client.becomes(SERVICE_UNKNOWN, "after")


def test_a_word_with_an_end_stands_over_one_without(plane: HealthPlane, client: Asking) -> None:
    plane.set("it", serving=True)
    client.becomes(SERVING, "it")
    seen = client.watch("it")
    assert next(seen) == SERVING
    plane.set("it", serving=False, ttl=0.2)
    assert [next(seen), next(seen)] == [NOT_SERVING, SERVING]


def test_readiness_can_be_taken_away_and_drained(plane: HealthPlane, client: Asking) -> None:
    plane.set("readiness", serving=False)
    client.becomes(NOT_SERVING)
    plane.clear("readiness")
    client.becomes(SERVING)
    plane.drain()
    client.becomes(NOT_SERVING)
    assert client.check("liveness") == SERVING


def test_beats_are_seen_and_so_is_silence(plane: HealthPlane, client: Asking) -> None:
    beat = plane.heartbeat("worker", max_silence=0.3)
    client.becomes(NOT_SERVING)
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.02):
            beat()

    worker = threading.Thread(target=work)
    worker.start()
    client.becomes(SERVING)
    assert client.check("liveness") == SERVING
    stop.set()
    worker.join()
    client.becomes(NOT_SERVING, "liveness")
    beat()
    client.becomes(SERVING, "liveness")


def test_a_heartbeat_can_say_that_it_fails(plane: HealthPlane, client: Asking) -> None:
    beat = plane.heartbeat("worker", max_silence=60, fall=1)
    beat()
    client.becomes(SERVING)
    beat.fail("no work")
    client.becomes(NOT_SERVING)
    assert result_of(client, "worker").message == "reported as failing"


def test_a_heartbeat_of_the_settings_is_beaten_by_the_application() -> None:
    plane = make(checks={"worker": {"kind": "heartbeat", "max_silence": 60, "fall": 1}})
    beat = plane.heartbeat("worker")
    with running(plane) as client:
        assert client.check() == NOT_SERVING
        beat()
        client.becomes(SERVING)
        beat.fail("stuck")
        client.becomes(NOT_SERVING, "liveness")


def test_reports_of_the_application_are_heard(plane: HealthPlane, client: Asking) -> None:
    class Told(PassiveCheck):
        max_silence = 60.0

    told = Told()
    plane.add_check("told", told, fall=2, rise=1)
    told.report()
    client.becomes(SERVING)
    told.report("once")
    told.report("twice")
    client.becomes(NOT_SERVING)
    told.report()
    client.becomes(SERVING)


def test_functions_run_in_the_application(plane: HealthPlane, client: Asking) -> None:
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

    while {result.name for result in client.smoke().checks} < {"sync", "async"}:
        pass  # it has not heard of both yet
    client.becomes(SERVING)
    assert set(ran) == {("sync", os.getpid()), ("async", os.getpid())}
    broken.set()
    client.becomes(NOT_SERVING)


def test_why_a_function_fails_is_told() -> None:
    plane = make(details="always")

    @plane.check("cache", **QUICK)
    def cache() -> None:
        raise ValueError("it is\ncold")

    with running(plane) as client:
        client.becomes(SERVING, "liveness")
        answer = client.smoke(checks=["cache"], max_age=datetime.timedelta())
        assert answer.checks[0].detail == "ValueError: it is\\ncold"


def test_a_function_that_hangs_is_not_started_again_until_it_returns() -> None:
    plane = make(details="always")
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
    with running(make(checks=checks, details="always")) as client:
        while not result_of(client, "mine").detail:
            pass
        assert result_of(client, "mine").detail == f"ValueError: {os.getpid()}"
        logging.getLogger().setLevel(logging.INFO)
        while result_of(client, "log").status != stubs.STATUS_OK:
            client.smoke(checks=["log"], max_age=datetime.timedelta())


def test_what_the_process_logs_reaches_the_handlers_of_the_application(
    plane: HealthPlane, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with running(plane) as client:
        client.becomes(SERVING)
    lines = [(record.name, record.getMessage()) for record in caplog.records]
    turned = "check application is passing, was pending"
    assert ("petsage_grpc.monitor", turned) in lines


def test_a_taken_port_is_said_as_without_a_process(plane: HealthPlane) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        taken = make(listen=f"127.0.0.1:{port}")
        with pytest.raises(BindError, match=f"port {port} is taken"):
            taken.start()
    assert planes_of(os.getpid()) == []
    with taken:
        assert taken.address == f"127.0.0.1:{port}"


def test_it_can_be_started_again() -> None:
    plane = make()
    for _ in range(2):
        with running(plane) as client:
            client.becomes(SERVING)
    assert planes_of(os.getpid()) == []


def test_a_settings_file_that_changes_after_it_was_read_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "petsage.toml"
    file.write_text('listen = ["127.0.0.1:0"]\nmessage = "as it was read"\nchecks = {}\n')
    plane = HealthPlane.from_settings(file, isolation="process")
    file.write_text("broken =")
    with running(plane) as client:
        client.becomes(SERVING)
        assert client.smoke().message == "as it was read"
        (child,) = planes_of(os.getpid())
        os.kill(child, signal.SIGKILL)
        while True:
            with contextlib.suppress(Exception):
                assert client.smoke().message
                if planes_of(os.getpid()) != [child]:
                    break


def test_a_setting_that_is_no_plain_value_is_refused() -> None:
    class Mine(dict[str, Any]):
        """Not to be found by its name."""

    plane = make(checks=Mine())
    with pytest.raises(SettingsError, match="give plain values"):
        plane.start()


def test_the_name_of_the_application_is_taken() -> None:
    with pytest.raises(SettingsError, match=r"checks\.application: .* name it otherwise"):
        make(checks={"application": {"kind": "disk"}}).start()
    with make() as plane, pytest.raises(SettingsError, match="application"):
        plane.heartbeat("application")


def test_secrets_stand_in_no_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = {"db": {"kind": "redis", "url": "redis://:hunter2-hunter2@127.0.0.1:1/0"}}
    with running(make(checks=checks)):
        (child,) = planes_of(os.getpid())
        assert b"hunter2" not in Path(f"/proc/{child}/cmdline").read_bytes()


def test_whatever_a_function_raises_is_told() -> None:
    plane = make(details="always")

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
    plane = make(max_silence=0.5)
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


def test_a_run_that_is_given_up_before_it_began_is_over(plane: HealthPlane, client: Asking) -> None:
    blocked, free = threading.Event(), threading.Event()

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

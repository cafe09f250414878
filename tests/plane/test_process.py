"""The plane in a process of its own: what the application says, does and runs reaches it."""

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from petsage_grpc import BindError, HealthPlane, SettingsError
from petsage_grpc.core.passive import PassiveCheck
from tests.plane.asking import Asking
from tests.plane.planes import (
    NOT_SERVING,
    SERVICE_UNKNOWN,
    SERVING,
    apart,
    application,
    planes_of,
    result_of,
    running,
)


@pytest.fixture
def plane() -> HealthPlane:
    return apart()


@pytest.fixture
def client(plane: HealthPlane) -> Iterator[Asking]:
    with running(plane) as client:
        client.becomes(SERVING)
        yield client


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


@pytest.mark.parametrize("told_by", ["heartbeat", "report"])
def test_a_silence_in_which_the_process_stood_still_too_is_told_when_it_is_over(
    plane: HealthPlane, client: Asking, told_by: str
) -> None:
    class Told(PassiveCheck):
        max_silence = 0.5

    told = Told()
    say: Callable[[], None] = told.report
    if told_by == "heartbeat":
        say = plane.heartbeat("worker", max_silence=0.5)
    else:
        plane.add_check("told", told, fall=1, rise=1)
    say()
    client.becomes(SERVING)
    seen = client.watch("")
    assert next(seen) == SERVING
    assert client.check() == SERVING  # by then it has written that; it would not tell two at once
    (child,) = planes_of(os.getpid())
    os.kill(child, signal.SIGSTOP)
    try:
        threading.Event().wait(1.0)  # twice the silence that is allowed
        say()
    finally:
        os.kill(child, signal.SIGCONT)
    assert [next(seen), next(seen)] == [NOT_SERVING, SERVING]


def test_a_heartbeat_can_say_that_it_fails(plane: HealthPlane, client: Asking) -> None:
    beat = plane.heartbeat("worker", max_silence=60, fall=1)
    beat()
    client.becomes(SERVING)
    beat.fail("no work")
    client.becomes(NOT_SERVING)
    assert result_of(client, "worker").message == "reported as failing"


def test_a_heartbeat_of_the_settings_is_beaten_by_the_application() -> None:
    plane = apart(checks={"worker": {"kind": "heartbeat", "max_silence": 60, "fall": 1}})
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
        taken = apart(listen=f"127.0.0.1:{port}")
        with pytest.raises(BindError, match=f"port {port} is taken"):
            taken.start()
    assert planes_of(os.getpid()) == []
    with taken:
        assert taken.address == f"127.0.0.1:{port}"


def test_it_can_be_started_again() -> None:
    plane = apart()
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

    plane = apart(checks=Mine())
    with pytest.raises(SettingsError, match="give plain values"):
        plane.start()


def test_the_name_of_the_application_is_taken() -> None:
    with pytest.raises(SettingsError, match=r"checks\.application: .* name it otherwise"):
        apart(checks={"application": {"kind": "disk"}}).start()
    with apart() as plane, pytest.raises(SettingsError, match="application"):
        plane.heartbeat("application")


def test_secrets_stand_in_no_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = {"db": {"kind": "redis", "url": "redis://:hunter2-hunter2@127.0.0.1:1/0"}}
    with running(apart(checks=checks)):
        (child,) = planes_of(os.getpid())
        assert b"hunter2" not in Path(f"/proc/{child}/cmdline").read_bytes()

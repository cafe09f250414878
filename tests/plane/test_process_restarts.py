"""The plane's process is killed, stuck or kept from starting: another one takes its place."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from petsage_grpc import HealthPlane
from petsage_grpc.plane import process_host, process_spawn
from petsage_grpc.plane.cells import PLANE
from petsage_grpc.settings_load import load_settings
from tests.plane.asking import Asking
from tests.plane.planes import (
    NOT_SERVING,
    SERVING,
    eventually,
    planes_of,
    running,
)
from tests.processes import PATIENCE, clean_environment


@pytest.fixture
def plane() -> HealthPlane:
    plane = HealthPlane.from_settings(listen="127.0.0.1:0", checks={}, isolation="process")
    plane.set("on", serving=True)
    plane.set("off", serving=False)
    return plane


def test_a_killed_plane_is_back_on_its_port_and_knows_what_was_said(plane: HealthPlane) -> None:
    with running(plane) as client:
        plane.heartbeat("worker", max_silence=60)()
        plane.set("later", serving=False, ttl=60)
        client.becomes(SERVING)
        (killed,) = planes_of(os.getpid())
        os.kill(killed, signal.SIGKILL)
        assert eventually(lambda: planes_of(os.getpid()) not in ([], [killed]))
        client.becomes(SERVING)
        told = client.smoke()
        assert [check.name for check in told.checks] == ["application", "worker"]
        names = {override.name: override.serving for override in told.overrides}
        assert names == {"on": True, "off": False, "later": False}
        assert client.check("off") == client.check("later") == NOT_SERVING


def test_a_plane_that_begins_anew_finds_its_files_wherever_the_application_went(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    disk = {"kind": "disk", "directory": "data", "rise": 1, "fall": 1}
    plane = HealthPlane.from_settings(
        listen="unix:health.sock", checks={"disk": disk}, isolation="process"
    )
    with running(plane) as client:
        client.becomes(SERVING)
        monkeypatch.chdir("/")
        (killed,) = planes_of(os.getpid())
        os.kill(killed, signal.SIGKILL)
        assert eventually(lambda: planes_of(os.getpid()) not in ([], [killed]))
        client.becomes(SERVING, "liveness")
        client.becomes(SERVING)


def test_a_plane_that_drains_still_does_so_after_its_death(plane: HealthPlane) -> None:
    with running(plane) as client:
        client.becomes(SERVING)
        plane.drain()
        client.becomes(NOT_SERVING)
        (killed,) = planes_of(os.getpid())
        os.kill(killed, signal.SIGKILL)
        assert eventually(lambda: planes_of(os.getpid()) not in ([], [killed]))
        client.becomes(SERVING, "liveness")
        assert client.check() == NOT_SERVING


def test_a_plane_that_is_stuck_is_replaced(
    plane: HealthPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_host, "_SILENCE", 1.5)
    monkeypatch.setattr(process_host, "_END", 0.05)
    with running(plane) as client:
        client.becomes(SERVING)
        (stuck,) = planes_of(os.getpid())
        os.kill(stuck, signal.SIGSTOP)
        assert eventually(lambda: planes_of(os.getpid()) not in ([], [stuck]))
        client.becomes(SERVING)


def test_a_plane_that_is_stuck_does_not_hold_up_the_application(
    plane: HealthPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_host, "_END", 0.05)
    with running(plane) as client:
        client.becomes(SERVING)
        (stuck,) = planes_of(os.getpid())
        os.kill(stuck, signal.SIGSTOP)
        beat = plane.heartbeat("worker")
        for number in range(1_000):
            beat()
            beat.fail(f"number {number}")
            plane.set("it", serving=False, reason=f"{number} " + 500 * "x")
    assert planes_of(os.getpid()) == []


def test_a_forked_worker_can_beat(plane: HealthPlane) -> None:
    beat = plane.heartbeat("worker", max_silence=0.3)
    with running(plane) as client:
        client.becomes(NOT_SERVING)
        worker = os.fork()
        if not worker:
            while True:
                beat()
        try:
            client.becomes(SERVING)
        finally:
            os.kill(worker, signal.SIGKILL)
            os.waitpid(worker, 0)
        client.becomes(NOT_SERVING)


def restart(client: Asking) -> None:
    """Kill the plane's process, and wait until another one answers."""
    (killed,) = planes_of(os.getpid())
    os.kill(killed, signal.SIGKILL)
    assert eventually(lambda: planes_of(os.getpid()) not in ([], [killed]))
    client.check("liveness")


def test_a_heartbeat_that_never_came_is_not_waited_for_anew(plane: HealthPlane) -> None:
    plane.heartbeat("worker", max_silence=0.3)
    with running(plane) as client:
        client.becomes(NOT_SERVING, "liveness")
        restart(client)
        assert client.check("liveness") == NOT_SERVING


def test_startup_stays_and_an_expired_name_stays_known(plane: HealthPlane) -> None:
    beat = plane.heartbeat("worker", max_silence=60, fall=1)
    with running(plane) as client:
        beat()
        client.becomes(SERVING, "startup")
        plane.set("brief", serving=True, ttl=0.05)
        beat.fail("broken")
        client.becomes(NOT_SERVING)
        client.becomes(NOT_SERVING, "brief")
        restart(client)
        assert client.check("startup") == SERVING
        assert client.check() == client.check("brief") == NOT_SERVING


def test_what_is_said_all_the_time_can_not_overtake_what_a_new_process_has_to_know(
    plane: HealthPlane,
) -> None:
    names = ["readiness", *(f"name-{number}" for number in range(300))]
    over = threading.Event()

    def say() -> None:
        while not over.is_set():
            for name in names:
                plane.set(name, serving=False, reason=900 * "x")

    with running(plane) as client:
        plane.set("readiness", serving=False)
        client.becomes(NOT_SERVING)
        speaker = threading.Thread(target=say)
        speaker.start()
        try:
            for _ in range(3):
                restart(client)
                assert {client.check(), client.check(), client.check()} == {NOT_SERVING}
        finally:
            over.set()
            speaker.join()


def test_whatever_keeps_a_new_process_from_starting_it_is_tried_again(
    plane: HealthPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [OSError("too many open files"), ValueError("anything")]
    real = process_spawn.socket_pair

    def scarce() -> Any:
        if failures:
            raise failures.pop()
        return real()

    with running(plane) as client:
        client.becomes(SERVING)
        monkeypatch.setattr(process_host, "socket_pair", scarce)
        (killed,) = planes_of(os.getpid())
        os.kill(killed, signal.SIGKILL)
        assert eventually(lambda: planes_of(os.getpid()) not in ([], [killed]))
        client.becomes(SERVING)
    assert not failures


def test_a_suspend_of_both_is_no_silence_of_the_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr(process_host, "boot_time", lambda: now)
    host = process_host.ProcessHost(load_settings(environ={}, checks={}), {}, {}, {})
    host._addresses.set_result(("127.0.0.1:1",))
    beats = host._cells[PLANE]
    beats[0] = now
    assert not host._is_stuck(now, up=True)
    now += 3_600
    assert not host._is_stuck(now, up=True), "this one was suspended, too"
    stuck = []
    for _ in range(12):
        now += 1.0
        stuck.append(host._is_stuck(now, up=True))
    assert stuck == [False] * 9 + [True] * 3
    host.stop(0.0)


@pytest.mark.parametrize("closed", ["<&-", "<&- >&- 2>&-"])
def test_it_starts_where_standard_streams_are_closed(tmp_path: Path, closed: str) -> None:
    told = tmp_path / "told"
    code = (
        "import sys; from petsage_grpc import HealthPlane\\n"
        "with HealthPlane.from_settings(isolation='process', listen='127.0.0.1:0', checks={}) as p:"
        "\\n    open(sys.argv[1], 'w').write(p.address)"
    ).replace("\\n", "\n")
    script = f'exec "$0" -c "$1" "$2" {closed}'
    subprocess.run(
        ["sh", "-c", script, sys.executable, code, str(told)], check=True, timeout=PATIENCE,
        env=clean_environment(),
    )  # fmt: skip
    assert told.read_text().startswith("127.0.0.1:")

"""HealthPlane on a thread, as an application uses it: settings, checks, words, drain and lives."""

import asyncio
import datetime
import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from petsage_grpc import BindError, Check, CheckFailedError, HealthPlane, PlaneError, SettingsError
from petsage_grpc.rpc import stubs as pb
from tests.plane.asking import HEART, ISOLATION, OWN_CHECKS, Asking, Status, make
from tests.processes import PATIENCE, settings_file

UP, DOWN, UNKNOWN = Status.SERVING, Status.NOT_SERVING, Status.SERVICE_UNKNOWN


def test_it_answers_when_start_returns_and_no_more_when_stop_does() -> None:
    plane = make()
    assert plane.start() is plane
    with Asking(plane.address) as asking:
        assert asking.check() == UP
        with asking.watching() as statuses:
            assert next(statuses) == UP
            stopping = threading.Thread(target=plane.stop)
            stopping.start()
            with pytest.raises(Exception, match="the service is stopping"):
                next(statuses)
            stopping.join(PATIENCE)
    assert not stopping.is_alive()


def test_it_listens_on_all_addresses(tmp_path: Path) -> None:
    path = f"unix:{tmp_path}/it.sock"
    with make(listen=["127.0.0.1:0", path]) as plane:
        assert plane.addresses == (plane.address, path)
        for address in plane.addresses:
            with Asking(address) as asking:
                assert asking.check() == UP


def test_variables_stand_over_the_file_and_keywords_over_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = settings_file(tmp_path, 'message = "file"', 'instance = "file"', 'version = "file"')
    monkeypatch.setenv("PETSAGE_INSTANCE", "variable")
    monkeypatch.setenv("PETSAGE_VERSION", "variable")
    plane = make(file, version="keyword")
    told = plane.settings
    assert (told.message, told.instance, told.version) == ("file", "variable", "keyword")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"isolation": "fork"}, ValueError, "isolation: 'fork' is none of thread, process"),
        ({"lisen": "127.0.0.1:0"}, SettingsError, "did you mean listen"),
        ({"drain_delay": "soon"}, SettingsError, "drain_delay"),
        ({"features_package": "json"}, SettingsError, "^features_package: .*hosts no features"),
    ],
)
def test_a_wrong_setting_is_an_error_where_it_is_given(
    settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make(**settings)


def test_readiness_waits_for_what_was_declared_before_the_start() -> None:
    plane, free = make(), threading.Event()

    @plane.check("cache")
    def cache() -> None:
        assert free.wait(PATIENCE)

    with plane, Asking(plane.address) as asking:
        assert asking.check() == DOWN, "a moment after the start already"
        free.set()
        asking.becomes(UP)


def test_a_check_that_is_declared_while_it_runs_counts(plane: HealthPlane, asking: Asking) -> None:
    wrong = True

    @plane.check("cache", interval=0.02, edge_interval=0.02)
    async def cache() -> None:
        if wrong:
            raise CheckFailedError("cold")

    asking.becomes(DOWN)
    wrong = False
    asking.becomes(UP)
    assert [told.name for told in asking.smoke().checks] == [*OWN_CHECKS, "cache"]


def test_a_check_of_any_kind_can_be_added_from_any_thread(
    plane: HealthPlane, asking: Asking
) -> None:
    class Fails(Check):
        async def run(self) -> None:
            raise CheckFailedError("always")

    adding = threading.Thread(target=plane.add_check, args=("mine", Fails()))
    adding.start()
    adding.join(PATIENCE)
    asking.becomes(DOWN)


def test_a_drain_turns_all_but_liveness_and_is_still_answered(
    plane: HealthPlane, asking: Asking
) -> None:
    plane.set("mine", serving=True)
    asking.becomes(UP, "mine")
    with asking.watching("mine") as statuses:
        assert next(statuses) == UP
        plane.drain()
        assert next(statuses) == DOWN
    plane.drain()
    assert asking.check() == DOWN
    assert asking.check("liveness") == asking.check("startup") == UP
    plane.set("readiness", serving=True, ttl=60)
    assert asking.check() == DOWN, "a drain is for good"


def test_a_name_of_the_settings_that_is_no_heartbeat_and_names_that_are_taken_are_refused(
    plane: HealthPlane, tmp_path: Path
) -> None:
    plane.heartbeat("worker")
    with pytest.raises(ValueError, match="there are two checks 'worker': name one of them other"):
        plane.heartbeat("worker")
    with pytest.raises(ValueError, match="there are two checks 'worker'"):
        plane.check("worker")(lambda: None)
    other = make(settings_file(tmp_path, *HEART, "[checks.disk]", 'kind = "disk"'), checks=None)
    other.heartbeat("worker")
    with pytest.raises(ValueError, match="the heartbeat 'worker' is beaten already"):
        other.heartbeat("worker")
    with pytest.raises(ValueError, match="the settings have a check 'disk', which is no heart"):
        other.heartbeat("disk")
    with pytest.raises(ValueError, match="the settings have a check 'disk': name this one"):
        other.check("disk")(lambda: None)


def test_two_planes_of_one_process_know_nothing_of_each_other() -> None:
    with make() as one, make() as other:
        one.set("readiness", serving=False)
        with Asking(one.address) as first, Asking(other.address) as second:
            first.becomes(DOWN)
            assert second.check() == UP
        one.stop()
        with Asking(other.address) as second:
            assert second.check() == UP


def test_a_taken_port_is_an_error_that_leaves_nothing_and_can_be_tried_again(
    plane: HealthPlane,
) -> None:
    other = make(listen=plane.address)
    before = set(threading.enumerate())
    for _ in range(3):
        with pytest.raises(BindError, match="is taken"):
            other.start()
        assert set(threading.enumerate()) <= before
    with pytest.raises(PlaneError, match="has not been started"):
        _ = other.address
    address = plane.address
    plane.stop()
    with other, Asking(address) as asking:
        assert asking.check() == UP


async def test_it_can_be_started_and_stopped_inside_of_a_running_loop() -> None:
    with make() as plane:
        plane.loop_heartbeat(max_silence=PATIENCE)
        with Asking(plane.address) as asking:
            await asyncio.to_thread(asking.becomes, UP)


def test_it_outlives_the_thread_that_has_started_it() -> None:
    plane = make()
    starting = threading.Thread(target=plane.start)
    starting.start()
    starting.join(PATIENCE)
    with Asking(plane.address) as asking:
        assert asking.check() == UP
    plane.stop()


class Blocked(logging.Handler):
    """A handler of the application that blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.free = threading.Event(), threading.Event()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.entered.set()
        self.free.wait(PATIENCE)
        self.lines.append(record.getMessage())


@pytest.mark.parametrize("name", ["", "petsage_grpc"])
def test_a_handler_of_the_application_that_blocks_delays_no_answer(name: str) -> None:
    handler, logger = Blocked(), logging.getLogger(name)
    logger.addHandler(handler)
    try:
        with make() as plane, Asking(plane.address) as asking:
            plane.check("broken")(lambda: False)
            assert handler.entered.wait(PATIENCE)
            asking.becomes(DOWN)
            plane.set("readiness", serving=True, ttl=60)
            asking.becomes(UP)
            assert handler.lines == []
            handler.free.set()
    finally:
        handler.free.set()
        logger.removeHandler(handler)
    assert any(line.startswith("check broken is failing") for line in handler.lines)


def test_startup_stays_though_a_check_that_gates_it_comes_later(
    plane: HealthPlane, asking: Asking
) -> None:
    assert asking.check("startup") == UP
    plane.heartbeat("late")
    asking.becomes(DOWN)
    assert asking.check("startup") == UP


def test_startup_waits_for_what_was_declared_before_the_start() -> None:
    plane = make()
    beat = plane.heartbeat("early")
    with plane, Asking(plane.address) as asking:
        assert asking.check("startup") == DOWN
        beat()
        asking.becomes(UP, "startup")


def test_without_checks_in_the_settings_the_log_is_reported_and_gates_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging.getLogger(), "level", logging.ERROR)
    plane = HealthPlane.from_settings(listen="127.0.0.1:0", isolation=ISOLATION)
    with plane, Asking(plane.address) as asking:
        asking.becomes(UP)
        told = asking.smoke(datetime.timedelta())
        checks = {check.name: (check.status, list(check.gates)) for check in told.checks}
        assert checks["log"] == (pb.STATUS_FAILING, [])
        assert told.status == pb.STATUS_DEGRADED

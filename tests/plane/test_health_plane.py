"""HealthPlane on a thread, as an application uses it: settings, checks, words, drain and lives."""

import asyncio
import datetime
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from petsage_grpc import BindError, Check, CheckFailedError, HealthPlane, PlaneError, SettingsError
from petsage_grpc.rpc import stubs as pb
from tests.plane.asking import ISOLATION, OWN_CHECKS, Asking, Status
from tests.processes import PATIENCE, settings_file

UP, DOWN, UNKNOWN = Status.SERVING, Status.NOT_SERVING, Status.SERVICE_UNKNOWN


def make(path: Path | None = None, **settings: Any) -> HealthPlane:
    given: dict[str, Any] = {"listen": "127.0.0.1:0", "checks": {}, "isolation": ISOLATION}
    return HealthPlane.from_settings(path, **given | settings)


@pytest.fixture
def plane() -> Iterator[HealthPlane]:
    with make() as plane:
        yield plane


@pytest.fixture
def asking(plane: HealthPlane) -> Iterator[Asking]:
    with Asking(plane.address) as asking:
        yield asking


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


@pytest.mark.parametrize("name", ["", "readiness"])
def test_a_word_on_readiness_turns_all_that_do_as_it_does_until_it_is_taken_back(
    plane: HealthPlane, asking: Asking, name: str
) -> None:
    plane.set(name, serving=False, reason="migrating")
    asking.becomes(DOWN)
    assert asking.check("readiness") == asking.check("petsage.v1.SmokeTestService") == DOWN
    assert asking.check("liveness") == UP
    plane.clear("" if name else "readiness")
    asking.becomes(UP)


def test_a_name_of_its_own_is_what_was_said_last_and_unknown_when_that_is_taken_back(
    plane: HealthPlane, asking: Asking
) -> None:
    with asking.watching("shop.v1.Orders") as statuses:
        assert next(statuses) == UNKNOWN
        for serving in (True, False):
            plane.set("shop.v1.Orders", serving=serving)
            assert next(statuses) == (UP if serving else DOWN)
        plane.clear("shop.v1.Orders")
        assert next(statuses) == UNKNOWN
    assert asking.check("shop.v1.Orders") == UNKNOWN


def test_a_word_with_an_end_ends_by_itself(plane: HealthPlane, asking: Asking) -> None:
    with asking.watching("mine") as statuses:
        assert next(statuses) == UNKNOWN
        plane.set("mine", serving=True, ttl=0.05)
        assert next(statuses) in (UP, DOWN)  # who is slow sees the newest one only
        asking.becomes(DOWN, "mine")


def test_a_word_is_told_by_smoke_test_with_what_it_stands_over(
    plane: HealthPlane, asking: Asking
) -> None:
    plane.set("readiness", serving=False, reason="secret", ttl=60)
    asking.becomes(DOWN)
    answer = asking.smoke()
    assert answer.status == pb.STATUS_FAILING
    assert answer.message == 'PetSage Backend is not well: "readiness" is set NOT_SERVING.'
    (told,) = answer.overrides
    assert (told.name, told.serving, told.serving_by_checks) == ("readiness", False, True)
    holds = told.expires_at.ToDatetime() - told.set_at.ToDatetime()
    assert round(holds.total_seconds()) == 60
    assert told.reason == "", "it is for authorised callers alone"


def test_words_may_be_given_before_the_start_and_last_from_life_to_life() -> None:
    plane = make()
    plane.set("mine", serving=True)
    plane.set("readiness", serving=False)
    plane.set("", serving=False)
    for _ in range(2):
        with plane, Asking(plane.address) as asking:
            asking.becomes(UP, "mine")
            asking.becomes(DOWN)
    plane.clear("readiness")
    with plane, Asking(plane.address) as asking:
        asking.becomes(UP)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"name": 7, "serving": True}, TypeError, "a health name is a text, and not a int"),
        ({"name": "a" * 1025, "serving": True}, ValueError, "max_name_length = 1024 bytes"),
        ({"name": "x", "serving": True, "ttl": 0}, ValueError, "ttl must be longer than 0"),
        ({"name": "x", "serving": True, "ttl": float("inf")}, ValueError, "leave it out"),
        ({"name": "x", "serving": True, "ttl": float("nan")}, ValueError, "ttl must be longer"),
        *(
            ({"name": name, "serving": True}, ValueError, "overrule for ever: give it a ttl")
            for name in ("", "readiness", "liveness", "startup", "petsage.v1.SmokeTestService",
                         "shop.v1.Orders", "group")
        ),
    ],
)  # fmt: skip
def test_a_word_that_can_not_be_meant_is_refused(
    given: dict[str, Any], error: type[Exception], message: str
) -> None:
    disk = {"disk": {"kind": "disk"}}
    with (
        make(services=["shop.v1.Orders"], checks=disk, groups={"group": ["disk"]}) as plane,
        pytest.raises(error, match=message),
    ):
        plane.set(**given)


def test_of_so_many_names_something_can_be_said_and_of_no_more(
    plane: HealthPlane, asking: Asking
) -> None:
    for number in range(1_000):
        plane.set(f"n{number}", serving=True, ttl=0.001 if number % 2 else None)
    with pytest.raises(ValueError, match=r"^something is said of 1000 names already: clear one$"):
        plane.set("one more", serving=True)
    plane.set("n0", serving=False)
    plane.clear("n1")
    plane.set("one more", serving=True)
    asking.becomes(UP, "one more")
    assert asking.check("n1") == UNKNOWN


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


def test_a_second_life_is_not_drained_any_more() -> None:
    plane = make().start()
    plane.drain()
    plane.stop()
    with plane, Asking(plane.address) as asking:
        asking.becomes(UP)


def test_what_was_loaded_counts_at_the_start_and_a_second_life_reads_anew(tmp_path: Path) -> None:
    file = settings_file(tmp_path, 'message = "one"')
    plane = make(file)
    settings_file(tmp_path, 'message = "two"')
    for message in ("one", "two"):
        with plane, Asking(plane.address) as asking:
            assert (asking.smoke().message, plane.settings.message) == (message, message)


def test_a_file_that_is_wrong_by_the_second_life_is_an_error_and_can_be_mended(
    tmp_path: Path,
) -> None:
    file = settings_file(tmp_path, 'message = "one"')
    plane = make(file)
    with plane:
        pass
    settings_file(tmp_path, "message = 1")
    with pytest.raises(SettingsError, match="message"):
        plane.start()
    with pytest.raises(PlaneError):
        _ = plane.address
    settings_file(tmp_path, 'message = "three"')
    with plane, Asking(plane.address) as asking:
        assert asking.smoke().message == "three"


HEART = ("[checks.worker]", 'kind = "heartbeat"', "max_silence = 20", "rise = 1")


def test_a_heartbeat_of_the_settings_is_beaten_in_every_life(tmp_path: Path) -> None:
    file = settings_file(tmp_path, *HEART)
    plane = make(file, checks=None)
    beat = plane.heartbeat("worker", max_silence=1)
    assert beat.max_silence == 20, "the settings hold"
    for _ in range(2):
        with plane, Asking(plane.address) as asking:
            assert asking.check() == DOWN
            beat()
            asking.becomes(UP)
    settings_file(tmp_path, *HEART, 'gates = ["liveness"]', "")
    with plane:
        assert plane.settings.checks["worker"].policy.gates == ("liveness",)


def test_settings_that_no_longer_go_with_the_application_are_refused(tmp_path: Path) -> None:
    file = settings_file(tmp_path, *HEART)
    plane = make(file, checks=None)
    plane.heartbeat("worker")
    plane.heartbeat("loop")
    with plane:
        pass
    settings_file(tmp_path, "[checks.worker]", 'kind = "disk"')
    with pytest.raises(SettingsError, match=r"^checks\.worker: the application beats it"):
        plane.start()
    settings_file(tmp_path, *HEART, "[checks.loop]", 'kind = "disk"')
    with pytest.raises(SettingsError, match=r"^checks\.loop: the application has a check 'loop'"):
        plane.start()


def test_an_application_s_heartbeat_is_beaten_in_every_life() -> None:
    plane = make()
    beat = plane.heartbeat("worker", max_silence=PATIENCE)
    for _ in range(3):
        with plane, Asking(plane.address) as asking:
            beat()
            asking.becomes(UP)


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


def test_what_was_said_before_the_start_holds_from_the_first_answer_on() -> None:
    plane = make()
    plane.set("readiness", serving=False)
    with plane, Asking(plane.address) as asking, asking.watching() as statuses:
        assert next(statuses) == DOWN
        plane.clear("readiness")
        assert next(statuses) == UP


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

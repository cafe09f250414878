"""A plane that is started again: its settings are read anew, and what it was given is kept."""

from pathlib import Path

import pytest

from petsage_grpc import BindError, PlaneError, SettingsError
from tests.plane.asking import HEART, Asking, Status, make
from tests.processes import PATIENCE, settings_file

UP, DOWN, UNKNOWN = Status.SERVING, Status.NOT_SERVING, Status.SERVICE_UNKNOWN


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


def test_after_a_start_that_failed_the_settings_are_read_anew(tmp_path: Path) -> None:
    file = settings_file(tmp_path, 'message = "one"')
    with make() as other:
        plane = make(file, listen=other.address)
        for message in ("two", "three"):
            with pytest.raises(BindError):
                plane.start()
            settings_file(tmp_path, f'message = "{message}"')
    with plane, Asking(plane.address) as asking:
        assert asking.smoke().message == "three"


def test_a_start_that_fails_after_a_stop_leaves_a_plane_that_was_stopped() -> None:
    plane = make()
    with plane:
        address = plane.address
    plane = make(listen=address)
    with plane:
        pass
    with make(listen=address), pytest.raises(BindError):
        plane.start()
    plane.drain()
    with pytest.raises(PlaneError, match="it has been stopped"):
        _ = plane.address


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

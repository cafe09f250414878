"""A plane that is used wrongly says so in clear words; it takes all values as plain ones."""

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import Any

import pytest

from petsage_grpc import HealthPlane, PlaneError
from tests.plane.asking import (
    OWN_CHECKS,
    Asking,
    Status,
    make,
)
from tests.processes import PATIENCE

UP, DOWN = Status.SERVING, Status.NOT_SERVING


@pytest.mark.parametrize(
    "use",
    [
        lambda plane: plane.address,
        lambda plane: plane.addresses,
        lambda plane: plane.set("mine", serving=True, ttl=1),
    ],
)
def test_used_before_its_start_or_after_its_stop_it_says_what_to_do(
    use: Callable[[HealthPlane], object],
) -> None:
    plane = make()
    with pytest.raises(PlaneError, match=r"^the plane has not been started: start it first$"):
        use(plane)
    plane.start()
    plane.stop()
    with pytest.raises(PlaneError, match=r"^it has been stopped: start it again first$"):
        use(plane)


def test_a_drain_before_the_start_is_an_error_and_one_after_the_stop_comes_late() -> None:
    plane = make()
    with pytest.raises(PlaneError, match="has not been started"):
        plane.drain()
    plane.start()
    plane.stop()
    plane.drain()


def test_a_check_that_is_refused_while_it_runs_is_not_kept(
    plane: HealthPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PlaneError("no room")

    monkeypatch.setattr(plane._host, "add_check", refuse)
    with pytest.raises(PlaneError, match="no room"):
        plane.heartbeat("worker")
    monkeypatch.undo()
    plane.stop()
    plane.start()
    with Asking(plane.address) as asking:
        assert asking.check() == UP
        assert [told.name for told in asking.smoke().checks] == OWN_CHECKS


class Name(str, Enum):  # noqa: UP042 -- the old way
    """Names as an application has them; no other process knows this class."""

    ORDERS = "orders"
    READINESS = "readiness"
    REASON = "closed"


class Seconds(float):
    """Times as an application may have them."""


def test_what_the_application_says_is_said_in_plain_values(plane: HealthPlane) -> None:
    plane.set(Name.ORDERS, serving=False, reason=Name.REASON)
    ((name, (_, reason)),) = plane._said.items()
    assert type(name) is type(reason) is str
    beat = plane.heartbeat(Name.ORDERS, max_silence=Seconds(PATIENCE), gates=[Name.READINESS])
    ((name, made),) = plane.checks.items()
    assert {type(text) for text in (name, beat.name, *made.policy.gates)} == {str}
    assert type(beat.max_silence) is float
    with Asking(plane.address) as asking:
        asking.becomes(DOWN, "orders")
        plane.set(Name.ORDERS, serving=True, ttl=Seconds(PATIENCE))
        asking.becomes(UP, "orders")
        plane.clear(Name.ORDERS)
        asking.becomes(Status.SERVICE_UNKNOWN, "orders")
        assert asking.check() == DOWN
        beat()
        asking.becomes(UP)
        plane.check(Name.REASON, gates=[Name.READINESS])(lambda: False)
        asking.becomes(DOWN)
        assert [told.name for told in asking.smoke().checks] == [*OWN_CHECKS, "orders", "closed"]


def test_settings_are_taken_as_plain_values() -> None:
    checks = {Name.ORDERS: {"kind": "heartbeat", "gates": [Name.READINESS]}}
    plane = make(message=Name.REASON, checks=checks, groups={Name.REASON: [Name.ORDERS]})
    assert type(plane.settings.message) is str
    ((name, made),) = plane.settings.checks.items()
    ((group, members),) = plane.settings.groups.items()
    assert {type(text) for text in (name, group, *members, *made.policy.gates)} == {str}
    with plane, Asking(plane.address) as asking:
        assert asking.check("closed") == DOWN


def test_a_name_that_can_not_be_sent_is_refused_in_clear_words(plane: HealthPlane) -> None:
    with pytest.raises(ValueError, match=r"^the name '\\udc80': it is not UTF-8: write it so$"):
        plane.set("\udc80", serving=True)
    plane.set("mine", serving=True, reason="\udc80")


@pytest.mark.parametrize("serving", ["no", "false", 0, None])
def test_what_is_neither_true_nor_false_is_not_taken_for_one(
    plane: HealthPlane, serving: Any
) -> None:
    with pytest.raises(TypeError, match=rf"^serving is True or False, and not {serving!r}$"):
        plane.set("mine", serving=serving)


def test_durations_are_read_as_in_settings(plane: HealthPlane) -> None:
    assert plane.heartbeat("worker", max_silence="1m30s").max_silence == 90
    plane.set("mine", serving=False, ttl="1h")
    with pytest.raises(ValueError, match=r"""^max_silence: 'soon' is not a duration: write it"""):
        plane.heartbeat("other", max_silence="soon")
    with pytest.raises(ValueError, match=r"^ttl: 'soon' is not a duration: write it like"):
        plane.set("mine", serving=False, ttl="soon")
    with pytest.raises(TypeError, match=r"^ttl: "):
        plane.set("mine", serving=False, ttl=[])  # type: ignore[arg-type]


def test_a_loop_that_is_closed_gets_no_heartbeat(plane: HealthPlane) -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    with pytest.raises(ValueError, match=r"^heartbeat loop: its event loop is closed, and never"):
        plane.loop_heartbeat(loop=loop)
    assert plane.checks == {}


def test_a_loop_heartbeat_without_a_running_loop_says_so(plane: HealthPlane) -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        plane.loop_heartbeat()
    assert plane.checks == {}

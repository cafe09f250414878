"""What an application says of names holds from the start on, ends, and is taken back."""

from typing import Any

import pytest

from petsage_grpc import HealthPlane
from petsage_grpc.rpc import stubs as pb
from tests.plane.asking import Asking, Status, make

UP, DOWN, UNKNOWN = Status.SERVING, Status.NOT_SERVING, Status.SERVICE_UNKNOWN


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


def test_what_was_said_before_the_start_holds_from_the_first_answer_on() -> None:
    plane = make()
    plane.set("readiness", serving=False)
    with plane, Asking(plane.address) as asking, asking.watching() as statuses:
        assert next(statuses) == DOWN
        plane.clear("readiness")
        assert next(statuses) == UP

"""Memory is given back once a crowd or a flood is over, and not before."""

import pytest

from petsage_grpc.rpc import _memory
from petsage_grpc.rpc._memory import Tidier, resident


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """How often memory was given back, and whether garbage was looked for."""
    told: list[bool] = []
    monkeypatch.setattr(_memory, "trim_memory", lambda *, collect: told.append(collect))
    return told


def quiet(tidier: Tidier, held: int, looks: int) -> None:
    for _ in range(looks):
        tidier.look(held, is_busy=False, hung_up=False)


def test_where_nothing_happens_nothing_is_given_back(given: list[bool]) -> None:
    quiet(Tidier(), 0, 20)
    assert given == []


def test_after_many_calls_it_is_given_back_once_all_is_quiet(given: list[bool]) -> None:
    tidier = Tidier()
    tidier.look(0, is_busy=True, hung_up=False)
    quiet(tidier, 0, 2)
    assert given == []
    quiet(tidier, 0, 10)
    assert given == [False], "calls leave no garbage that is worth to hold the interpreter"


def test_after_many_watches_have_left_garbage_is_looked_for_too(given: list[bool]) -> None:
    tidier = Tidier()
    quiet(tidier, 600, 20)
    assert given == [], "they are still here"
    for held in (400, 200, 50):  # they are leaving
        quiet(tidier, held, 1)
    quiet(tidier, 40, 2)
    assert given == []
    quiet(tidier, 30, 10)
    assert given == [True]


def test_a_few_watches_that_leave_are_no_crowd(given: list[bool]) -> None:
    tidier = Tidier()
    quiet(tidier, 400, 5)
    quiet(tidier, 0, 20)
    assert given == []


def test_after_a_hang_up_garbage_is_looked_for_too(given: list[bool]) -> None:
    tidier = Tidier()
    tidier.look(0, is_busy=True, hung_up=True)
    quiet(tidier, 0, 10)
    assert given == [True]


def test_within_a_flood_it_is_given_back_each_time_that_much_has_come(
    given: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    has = [100]
    monkeypatch.setattr(_memory, "resident", lambda: has[0] << 20)
    tidier = Tidier()
    for has_now in (100, 130, 163):
        has[0] = has_now
        tidier.look(0, is_busy=True, hung_up=False)
    assert given == []
    has[0] = 164
    tidier.look(0, is_busy=True, hung_up=False)
    assert given == [False]
    has[0] = 227  # all of that is in use
    tidier.look(0, is_busy=True, hung_up=False)
    assert given == [False]
    has[0] = 228
    tidier.look(0, is_busy=True, hung_up=False)
    assert given == [False, False]


def test_what_is_resident_is_told_in_bytes() -> None:
    kept = bytearray(b"x" * (64 << 20))
    before = resident()
    assert before > 64 << 20
    del kept
    assert before - resident() > 32 << 20

"""Memory is given back once a crowd or a flood is over, and not before."""

import pytest

from petsage_grpc.rpc import _memory
from petsage_grpc.rpc._memory import Tidier


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

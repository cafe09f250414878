"""The headers by which cycles are noticed, as the check sends and reads them."""

import grpc
from hypothesis import given, settings
from hypothesis import strategies as st

from petsage_grpc.core.hops import (
    FARTHEST,
    MOST,
    format_reaches,
    is_backend,
    merge,
    parse_hops,
    parse_reaches,
)
from tests.checks.grpc.conftest import CHECK, WATCH, Downstream, MakeCheck, failure

BACKENDS = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)
DISTANCES = st.dictionaries(BACKENDS, st.integers(0, 99), max_size=MOST + 2)


async def test_a_check_says_who_asks_but_not_to_watch(
    make: MakeCheck, downstream: Downstream
) -> None:
    check = make(downstream.address)
    check.backend = "orders"
    await check.run()
    await downstream.watched()
    assert downstream.metadata(CHECK)["petsage-hops"] == "orders"
    assert "petsage-hops" not in downstream.metadata(WATCH)


async def test_a_check_that_knows_no_name_sends_no_header(
    make: MakeCheck, downstream: Downstream
) -> None:
    check = make(downstream.address)
    for backend in ("", "two words", "x" * 65, "ü"):
        check.backend = backend
        await check.run()
        assert "petsage-hops" not in downstream.metadata(CHECK)


async def test_a_check_knows_where_the_last_answer_came_from(
    make: MakeCheck, downstream: Downstream
) -> None:
    check = make(downstream.address)
    downstream.trailers = (("petsage-reaches", "ledger=0, stock=3"), ("petsage-reaches", "stock=1"))
    await check.run()
    assert check.distances == {"ledger": 1, "stock": 2}
    assert check.reaches == {"ledger", "stock"}
    downstream.answer = grpc.StatusCode.NOT_FOUND
    downstream.trailers = (("petsage-reaches", "ledger=0"),)
    await failure(check)
    assert check.reaches == {"ledger"}


async def test_a_downstream_that_can_not_answer_leads_where_it_led(
    make: MakeCheck, downstream: Downstream
) -> None:
    check = make(downstream.address)
    downstream.trailers = (("petsage-reaches", "ledger=0"),)
    await check.run()
    downstream.answer, downstream.trailers = grpc.StatusCode.UNAVAILABLE, ()
    await failure(check)
    assert check.reaches == {"ledger"}
    downstream.answer = "NOT_SERVING"
    await failure(check)
    assert check.reaches == frozenset()


def test_what_makes_no_sense_in_the_headers_is_ignored() -> None:
    assert parse_hops(["", ",", "a b", "ü", "x" * 65, "ok", b"bytes,\xff"]) == {"ok", "bytes"}
    assert parse_reaches(["a=x,=1,b=-1,c=1=2,d=100,e=1 f,ok=2,old", b"bytes=0,\xff=1"]) == {
        "ok": 3, "old": 1, "bytes": 1,
    }  # fmt: skip


def test_headers_of_any_length_are_cut() -> None:
    many = ",".join(f"b{number}=1" for number in range(1000))
    assert len(parse_hops([many.replace("=1", "")])) == MOST
    assert len(parse_reaches([many])) == MOST
    assert len(format_reaches({"x" * 62 + f"{n}": 1 for n in range(1000)}).split(",")) == MOST
    assert parse_reaches([f"{many},near=0"])["near"] == 1


def test_what_is_too_far_away_is_forgotten() -> None:
    assert parse_reaches([f"far={FARTHEST},near={FARTHEST - 1}"]) == {"near": FARTHEST}


def test_two_who_hear_of_one_that_is_gone_from_each_other_forget_it() -> None:
    one, other = {"gone": 1}, {"gone": 2}
    rounds = 0
    while one or other:
        one, other = parse_reaches([format_reaches(other)]), parse_reaches([format_reaches(one)])
        rounds += 1
    assert rounds <= FARTHEST


@settings(max_examples=50)
@given(DISTANCES)
def test_what_is_told_is_heard_one_hop_farther(distances: dict[str, int]) -> None:
    heard = parse_reaches([format_reaches(distances)])
    assert all(heard[backend] == distances[backend] + 1 for backend in heard)
    assert all(away <= FARTHEST for away in heard.values())
    assert len(heard) <= MOST
    near = {backend for backend, away in distances.items() if away < FARTHEST}
    assert heard.keys() <= near
    assert heard.keys() == near or len(distances) > MOST


@settings(max_examples=50)
@given(st.lists(DISTANCES, max_size=4))
def test_the_shortest_of_several_ways_counts(ways: list[dict[str, int]]) -> None:
    merged = merge(ways)
    assert merged.keys() == set().union(*ways)
    for backend, away in merged.items():
        assert away == min(way[backend] for way in ways if backend in way)


@given(st.text())
def test_no_text_breaks_the_reading(text: str) -> None:
    assert all(map(is_backend, parse_hops([text])))
    assert all(map(is_backend, parse_reaches([text])))
    assert all(map(is_backend, parse_hops([text.encode()])))

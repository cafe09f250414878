"""Each target is tried shortly, with its seeds and some chance, so that none of them can rot."""

from collections.abc import Iterator
from functools import partial

import pytest

from petsage_grpc.rpc.stubs import SmokeTestResponse
from tests.fuzz.targets import SEEDS, TARGETS, by_chance
from tests.fuzz.wire import SMOKE_TEST, TOKEN, Wire, wire

_FEW = 20


@pytest.fixture(scope="module")
def server() -> Iterator[Wire]:
    with wire() as running:
        yield running


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_and_some_chance_find_nothing(name: str, server: Wire) -> None:
    target = TARGETS[name]
    run = partial(target.run, server) if target.on_wire else target.run
    for seed in sorted((SEEDS / name).glob("*")):
        run(seed.read_bytes())
    by_chance(target, run, _FEW)()


def test_there_is_a_detail_that_callers_without_a_token_could_be_told(server: Wire) -> None:
    answer = server.unary(SMOKE_TEST, b"", (("authorization", f"Bearer {TOKEN}"),))
    assert answer is not None
    assert any(check.detail for check in SmokeTestResponse.FromString(answer).checks)


def test_every_target_of_bytes_has_seeds_and_no_seed_is_of_none() -> None:
    raw = {name for name, target in TARGETS.items() if target.is_raw}
    assert {folder.name for folder in SEEDS.iterdir()} == raw
    assert all([*folder.iterdir()] for folder in SEEDS.iterdir())

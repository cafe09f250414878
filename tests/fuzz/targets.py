"""All targets by their names, each as a function that is called with one input after another."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz import given as near
from tests.fuzz import texts
from tests.fuzz.wire import Wire, asks, run_ask, wire

__all__ = ["SEEDS", "TARGETS", "Target", "by_chance", "running"]

SEEDS: Final = Path(__file__).parent / "seeds"
_LONGEST: Final = 4096  # bytes of an input


class Target(NamedTuple):
    """What is tried with one input after another."""

    run: Callable[..., None]
    """Tries one; with the server before it where it needs one. Raises when something is wrong."""
    inputs: "st.SearchStrategy[Any]"
    """What it is tried with."""
    on_wire: bool
    """Whether it needs the server."""
    is_raw: bool
    """Whether its inputs are bytes as they come."""


_BYTES: Final = st.binary(max_size=_LONGEST)

TARGETS: Final[Mapping[str, Target]] = {
    "check": Target(Wire.check, _BYTES, on_wire=True, is_raw=True),
    "watch": Target(Wire.watch, _BYTES, on_wire=True, is_raw=True),
    "list": Target(Wire.list, _BYTES, on_wire=True, is_raw=True),
    "smoke_test": Target(Wire.smoke_test, _BYTES, on_wire=True, is_raw=True),
    "reflection": Target(Wire.reflection, _BYTES, on_wire=True, is_raw=True),
    "hops": Target(Wire.hops, _BYTES, on_wire=True, is_raw=True),
    "token": Target(Wire.token, _BYTES, on_wire=True, is_raw=True),
    "names": Target(run_ask, asks, on_wire=True, is_raw=False),
    "settings_file": Target(texts.settings_file, _BYTES, on_wire=False, is_raw=True),
    "references": Target(texts.references, _BYTES, on_wire=False, is_raw=True),
    "units": Target(texts.units, _BYTES, on_wire=False, is_raw=True),
    "address": Target(texts.address, _BYTES, on_wire=False, is_raw=True),
    "health_codec": Target(texts.health_codec, _BYTES, on_wire=False, is_raw=True),
    "reaches": Target(texts.reaches, _BYTES, on_wire=False, is_raw=True),
    "tokens": Target(texts.tokens, _BYTES, on_wire=False, is_raw=True),
    "redaction": Target(texts.redaction, _BYTES, on_wire=False, is_raw=True),
    "certificates": Target(texts.certificates, _BYTES, on_wire=False, is_raw=True),
    "settings_table": Target(near.load_table, near.tables, on_wire=False, is_raw=False),
    "variables": Target(near.load_variables, near.variables, on_wire=False, is_raw=False),
    "numbers": Target(near.load_numbers, near.numbers, on_wire=False, is_raw=False),
    "flags": Target(near.flags, near.command_lines, on_wire=False, is_raw=False),
}


@contextmanager
def running(target: Target) -> Iterator[Callable[[Any], None]]:
    """Make what tries one input; the server that it needs ends with the block."""
    if not target.on_wire:
        yield target.run
        return
    with wire() as server:
        yield partial(target.run, server)


def by_chance(
    target: Target, run: Callable[[Any], None], count: int, *, repeatable: bool = True
) -> Any:
    """Make a test that tries as many inputs, if it is repeatable the same ones each time."""

    @settings(
        max_examples=count, deadline=None, derandomize=repeatable, database=None,
        phases=[Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(target.inputs)
    def test(one: Any) -> None:
        run(one)

    return test

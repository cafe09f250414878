"""What the settings say reaches those who need it."""

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from petsage_grpc.checks import KINDS, _thread
from petsage_grpc.core.check import Check
from petsage_grpc.core.hops import is_backend
from petsage_grpc.plane.service import Service
from petsage_grpc.settings_load import load_settings
from tests.packages import KIND, write_package


@dataclass(kw_only=True)
class DownstreamCheck(Check):
    """A kind that wants to know the name of this backend."""

    def __post_init__(self) -> None:
        self.backend = ""

    async def run(self) -> None:
        """Pass."""


@dataclass(kw_only=True)
class OwnCheck(Check):
    """A kind that has a setting of that name."""

    backend: str = "theirs"

    async def run(self) -> None:
        """Pass."""


@pytest.fixture(autouse=True)
def kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "downstream", f"{__name__}:{DownstreamCheck.__name__}")
    monkeypatch.setitem(KINDS, "own", f"{__name__}:{OwnCheck.__name__}")


async def service(**settings: Any) -> Service:
    given: dict[str, Any] = {"listen": "127.0.0.1:0", "checks": {"a": {"kind": "downstream"}}}
    return Service(load_settings(environ={}, **(given | settings)))


def backend_of(made: Service, name: str = "a") -> str:
    return made.checks[name].check.backend  # type: ignore[attr-defined,no-any-return]


async def test_a_check_that_wants_it_is_told_the_name_of_the_backend() -> None:
    assert backend_of(await service(backend="orders", instance="pod-3")) == "orders"


async def test_without_one_the_backend_goes_by_the_instance() -> None:
    assert backend_of(await service(instance="pod-3")) == "pod-3"


async def test_an_instance_that_no_header_can_hold_is_not_used_for_it() -> None:
    name = backend_of(await service(instance="pod 3/ä"))
    assert is_backend(name)
    assert name != backend_of(await service())


async def test_a_setting_of_that_name_is_left_alone() -> None:
    made = await service(checks={"b": {"kind": "own"}}, backend="orders")
    assert backend_of(made, "b") == "theirs"


async def test_the_limit_of_threads_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_thread._slots, "limit", _thread._slots.limit)
    await service(max_threads=3)
    assert _thread._slots.limit == 3


async def test_so_many_transitions_are_kept_as_the_settings_say(site: Path) -> None:
    write_package(site, "petsage-one", {"one_kind": KIND}, checks={"one": "one_kind:Kind"})
    checks = {"a": {"kind": "one", "interval": 0.01, "edge_interval": 0.01, "fall": 1, "rise": 1}}
    async with await service(checks=checks, history=2) as made:
        check: Any = made.checks["a"].check
        seen = 0
        while seen < 5:
            before = made.plane.monitor.report().checks[0].history
            check.failing = not check.failing
            while made.plane.monitor.report().checks[0].history == before:
                await asyncio.sleep(0.001)
            seen += 1
        assert len(made.plane.monitor.report().checks[0].history) == 2


async def test_the_log_warns_of_a_shared_check_that_gates_readiness(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = await service(checks={"db": {"kind": "downstream", "shared": True}})
    async with made:
        with caplog.at_level(logging.WARNING):
            made._introduce()
    (warning,) = (line.getMessage() for line in caplog.records if line.levelno == logging.WARNING)
    assert warning == (
        "check db is shared by all replicas and gates readiness: when it fails, all of them leave"
        " rotation at once (docs/gates.md)"
    )


async def test_the_secrets_of_all_checks_are_taken_out_of_a_text() -> None:
    made = await service()
    made.checks["a"].check.hide("hunter2-hunter2", "${PASSWORD}")
    assert made.redact("with hunter2-hunter2") == "with ${PASSWORD}"

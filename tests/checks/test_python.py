"""The kind `python`: any function is a check, and what can not be called is refused at once."""

import asyncio
import functools
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from petsage_grpc.checks.python import FunctionCheck, PythonCheck
from petsage_grpc.core.check import CheckFailedError

MODULE = """
import asyncio

class Ledger:
    @staticmethod
    def balanced():
        return True

    async def __call__(self):
        raise OSError("the ledger is closed")

ledger = Ledger()

def good(): return None
def true(): return True
def zero(): return 0
def false(): return False
def bad(): raise LookupError("no such account")
def needs(account): return account
def may(account="all"): return account
async def agood(): await asyncio.sleep(0)
async def afalse(): return False
async def abad(): raise LookupError("no such account")
def later(): return agood()
NUMBER = 3
"""


@pytest.fixture(autouse=True)
def on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ledgers.py").write_text(MODULE)
    (tmp_path / "broken_ledgers.py").write_text("raise RuntimeError('not today')")
    (tmp_path / "leaving.py").write_text("import sys; sys.exit(0)")
    (tmp_path / "moody.py").write_text("def __getattr__(name): raise RuntimeError('not now')")
    (tmp_path / "lacking.py").write_text("import no_such_library")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("ledgers", "broken_ledgers", "lacking", "leaving", "moody"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    "name", ["good", "true", "zero", "agood", "later", "may", "Ledger.balanced", "ledger.balanced"]
)
async def test_a_function_that_returns_passes(name: str) -> None:
    await PythonCheck(function=f"ledgers:{name}").run()


@pytest.mark.parametrize("name", ["bad", "abad"])
async def test_a_function_that_raises_fails_with_its_own_error(name: str) -> None:
    with pytest.raises(LookupError, match="no such account"):
        await PythonCheck(function=f"ledgers:{name}").run()


@pytest.mark.parametrize("name", ["false", "afalse"])
async def test_a_function_that_returns_false_fails(name: str) -> None:
    with pytest.raises(CheckFailedError, match=f"^{name} returned False$"):
        await PythonCheck(function=f"ledgers:{name}").run()


async def test_an_object_with_an_asynchronous_call_is_a_function_too() -> None:
    with pytest.raises(OSError, match="the ledger is closed"):
        await PythonCheck(function="ledgers:ledger").run()


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("ledgers", "'ledgers' is none: write it like \"package.module:function\""),
        ("ledgers:", "write it like"),
        ("ledgers.good", "write it like"),
        ("ledgers:good()", "write it like"),
        ("", "write it like"),
        ("no_such_module:good", "there is no module 'no_such_module': install what brings"),
        ("ledgers.inner:good", "there is no module 'ledgers.inner'"),
        ("lacking:good", "importing 'lacking' raised ModuleNotFoundError: No module named"),
        ("broken_ledgers:good", "importing 'broken_ledgers' raised RuntimeError: not today"),
        ("leaving:good", "importing 'leaving' raised SystemExit: 0"),
        ("moody:good", "importing 'moody' raised RuntimeError: not now"),
        ("ledgers:god", "'ledgers' has no 'god': is it spelled so?"),
        ("ledgers:Ledger.god", "'ledgers' has no 'Ledger.god'"),
        ("ledgers:NUMBER", "'ledgers:NUMBER' is not a function"),
        ("ledgers:needs", "'ledgers:needs' needs arguments: name one that takes none"),
    ],
)
def test_what_can_not_be_called_is_refused_with_the_mend(function: str, told: str) -> None:
    with pytest.raises(ValueError, match=r"^function: ") as caught:
        PythonCheck(function=function)
    assert told in str(caught.value)


async def test_a_synchronous_function_runs_on_a_thread_and_blocks_nobody() -> None:
    threads: list[threading.Thread] = []
    await FunctionCheck(lambda: threads.append(threading.current_thread())).run()
    assert threads[0] is not threading.current_thread()
    assert threads[0].daemon


async def test_one_that_hangs_says_what_it_waits_for_and_ends_when_the_function_does() -> None:
    begun, release = threading.Event(), threading.Event()

    def stuck() -> None:
        begun.set()
        release.wait(10)

    check = FunctionCheck(stuck)
    run = asyncio.create_task(check.run())
    assert await asyncio.to_thread(begun.wait, 5)
    assert check.doing.startswith("waiting for ")
    assert check.doing.endswith("stuck")
    run.cancel()
    await asyncio.wait({run}, timeout=0.01)
    assert not run.done(), "in quarantine"
    release.set()
    await asyncio.wait({run}, timeout=5)
    assert run.cancelled()


@pytest.mark.parametrize("wrap", [functools.partial, functools.cache], ids=["partial", "cache"])
async def test_a_wrapped_function_is_called(wrap: Callable[..., Callable[[], object]]) -> None:
    called: list[int] = []
    await FunctionCheck(wrap(lambda: called.append(1))).run()
    assert called == [1]


async def test_a_process_that_is_killed_is_seen_by_a_function_of_the_users_own() -> None:
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=-1)

    def alive() -> bool:
        return worker.returncode is None

    check = FunctionCheck(alive)
    await check.run()
    worker.kill()
    await worker.wait()
    with pytest.raises(CheckFailedError, match="alive returned False"):
        await check.run()

"""Asks a function of the application or of a library, synchronous or not."""

import asyncio
import importlib
import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from petsage_grpc.checks._elsewhere import run_on, running_loop
from petsage_grpc.checks._thread import run_blocking
from petsage_grpc.core.check import Check, CheckFailedError

__all__ = ["FunctionCheck", "PythonCheck", "require_function"]

_MISSING: Final = object()

_PATH: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


class FunctionCheck(Check):
    """Passes when a function returns, and fails when it raises or returns False.

    One that is asynchronous runs on the event loop that runs while this is made, where one does:
    what it uses is at home there. One that is not runs on a thread of its own, which it keeps as
    long as it hangs.

    Args:
        function: takes no arguments.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._home = running_loop()

    async def run(self) -> None:
        """Call the function."""
        await _call(self, self._function, self._home)


@dataclass(kw_only=True)
class PythonCheck(Check):
    """Fails when a function raises or returns False; it may be async, and takes no arguments."""

    in_application: ClassVar[bool] = True

    function: str = field(metadata={"help": 'the function, as "package.module:function"'})

    def __post_init__(self) -> None:
        """Import the function."""
        self._function = _find(self.function)

    async def run(self) -> None:
        """Call the function."""
        await _call(self, self._function)


def require_function(found: object, shown: str) -> Callable[[], Any]:
    """Return what can be called without arguments. Raises TypeError saying what is wrong."""
    if not callable(found):
        raise TypeError(f"{shown} is not a function")
    try:
        inspect.signature(found).bind()
    except TypeError:
        raise TypeError(f"{shown} needs arguments: name one that takes none") from None
    except Exception:  # noqa: BLE001, S110 -- some do not tell, and a few can not
        pass
    return found


def _find(path: str) -> Callable[[], Any]:
    """Import a function. Raises ValueError saying what is wrong."""
    if not _PATH.fullmatch(path):
        raise ValueError(f'function: {path!r} is none: write it like "package.module:function"')
    module, _, name = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part, _MISSING)
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- a module may raise anything
        if isinstance(error, ModuleNotFoundError) and module.startswith(f"{error.name}"):
            where = ", ".join(sys.path[:2])
            mend = f"install what brings {error.name}, or set PYTHONPATH (searched: {where}, …)"
            raise ValueError(f"function: there is no module {error.name!r}: {mend}") from None
        raise ValueError(f"function: importing {module!r} raised {_describe(error)}") from None
    if found is _MISSING:
        raise ValueError(f"function: {module!r} has no {name!r}: is it spelled so?")
    try:
        return require_function(found, repr(path))
    except TypeError as error:
        raise ValueError(f"function: {error}") from None


def _describe(error: BaseException) -> str:
    try:
        told = str(error).partition("\n")[0]
    except Exception:  # noqa: BLE001 -- somebody else's error
        told = "which can not be shown"
    return f"{type(error).__name__}: {told}"


async def _call(
    check: Check, function: Callable[[], Any], home: asyncio.AbstractEventLoop | None = None
) -> None:
    name = getattr(function, "__qualname__", type(function).__name__)
    asynchronous = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 -- its type is asked for, not whether it is there
    )
    check.doing = f"waiting for {name}"
    if asynchronous:
        returned = await run_on(home, check, name, function)
    else:
        results: list[Any] = []
        await run_blocking(check, lambda: results.append(function()), name=f"petsage check {name}")
        returned = results[0]
        if inspect.isawaitable(returned):
            returned = await run_on(home, check, name, lambda: results[0])
    if returned is False:
        raise CheckFailedError(f"{name} returned False")

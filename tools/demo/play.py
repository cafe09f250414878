"""Hurts real dependencies of a running service, and shows who sees what of it, and when.

Each dependency in turn is killed, revived, stopped and continued, while a watcher, SmokeTest and
the kubelet's prober look on. `make demo` runs it; it ends with 0 when all was seen in time.
"""

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, NoReturn

import grpc
from dependencies import DEPENDENCIES, Dependency
from onlookers import Stage
from timeline import say

from petsage_grpc.core.policy import Policy
from petsage_grpc.core.units import Duration
from tests import databases, redis_servers
from tests.observers import TOLERANCE
from tests.processes import served

__all__ = ["main"]

_POLICY: Final = Policy(
    interval=Duration(2), timeout=Duration(0.5), edge_interval=Duration(0.5), fall=2, rise=2
)
_PROBE_PERIOD: Final = 1.0
"""Seconds from probe to probe: the shortest that a kubelet knows."""
_QUICK: Final = 0.25
"""How much shorter a quick demonstration makes the interval and the period."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SHOWN: Final = 20
"""Lines of the service's log that are shown when something went wrong."""


def main() -> int:
    """Run the demonstration; return the exit code."""
    arguments = _arguments()
    for number in _SIGNALS:
        signal.signal(number, _leave)
    try:
        with contextlib.ExitStack() as stack:
            return _run(arguments, stack)
    except (databases.MissingServerError, redis_servers.MissingServerError) as error:
        say(f"demo: {error}")
        return 1
    except SystemExit:
        say("\ndemo: told to stop; all that it had started has been ended")
        raise


def _leave(number: int, _: object) -> NoReturn:
    """Leave by way of an exception, once, so that no process is left behind."""
    for ended_by in _SIGNALS:
        signal.signal(ended_by, signal.SIG_IGN)
    sys.exit(128 + number)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="demo",
        description="Kill, revive, stop and continue real dependencies; show who sees it, and when",
        epilog="exit codes: 0 all was seen in time, 1 it was not",
    )
    there_are = ", ".join(DEPENDENCIES)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"what to hurt (default: all of {there_are})"
    )
    parser.add_argument(
        "--quick", action="store_true", help="check more often than one would, to be done sooner"
    )
    parser.add_argument(
        "--tolerance", type=float, default=TOLERANCE, metavar="SECONDS",
        help="what seeing may take, for a busy machine (default: %(default)s)",
    )  # fmt: skip
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in DEPENDENCIES:
            parser.error(f"there is no {name!r}; there are: {there_are}")
    return arguments


def _run(arguments: argparse.Namespace, stack: contextlib.ExitStack) -> int:
    say("starting real servers:")
    dependencies = {}
    for name in arguments.names or DEPENDENCIES:
        dependencies[name] = stack.enter_context(DEPENDENCIES[name]())
        say(f"  {name:<10} {dependencies[name].what}")
    factor = _QUICK if arguments.quick else 1.0
    policy = replace(_POLICY, interval=Duration(factor * _POLICY.interval))
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="demo-")))
    config, variables = _configure(folder, dependencies, policy)
    service = stack.enter_context(served("--config", str(config), **variables))
    say(f"  {'service':<10} petsage-grpc serve --config {config}, on {service.address}")
    good = False
    try:
        stage = Stage(service.address, policy, factor * _PROBE_PERIOD, arguments.tolerance)
        good = asyncio.run(stage.play(dependencies))
    except* (grpc.RpcError, TimeoutError, AssertionError, RuntimeError) as errors:
        say(f"demo: broken off, a server is not as it should be: {errors.exceptions[0]!r}")
    if not good:
        say("\n".join(["\nwhat the service has logged last:", *service.lines[-_SHOWN:]]))
    return 0 if good else 1


def _configure(
    folder: Path, dependencies: Mapping[str, Dependency], policy: Policy
) -> tuple[Path, Mapping[str, str]]:
    """Write the settings; return the file, and the variables that it takes secrets from."""
    lines, variables = ['details = "always"'], {}
    for name, dependency in dependencies.items():
        place = dependency.place
        if dependency.secret:
            variable = f"{name}_{dependency.setting}".upper().replace("-", "_")
            variables[variable], place = place, f"${{{variable}}}"
        lines += ["", f"[checks.{name}]", f'kind = "{dependency.kind}"']
        lines.append(f'{dependency.setting} = "{place}"')
        for key in ("interval", "timeout", "edge_interval", "fall", "rise"):
            lines.append(f"{key} = {getattr(policy, key):g}")
    config = folder / "petsage.toml"
    config.write_text("\n".join(lines) + "\n")
    return config, variables

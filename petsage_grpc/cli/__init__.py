"""The command line: finds the verb and imports that verb alone, because `probe` must start fast."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

__all__ = ["VERBS", "main"]

VERBS: Final = {
    "serve": "run the service until SIGTERM or SIGINT",
    "probe": "ask once whether a name is serving, as grpc_health_probe does",
    "smoke": "call SmokeTest and show every check",
    "wait": "return once a server is serving",
    "checks": "list the kinds of checks, or validate a settings file",
}
"""The verbs, each in a module of its name."""

_BAD_USAGE: Final = 2
_SYSTEM: Final = 74  # an input or output error in sysexits.h; none of the verbs' own codes


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb and return the exit code of the process."""
    for descriptor in range(3):  # one that was closed would soon be that of some connection
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed before we started
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115 -- until the end
    try:
        try:
            return _run(list(sys.argv[1:] if argv is None else argv))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # the reader had enough
        code = _SYSTEM
    except OSError as error:
        try:  # noqa: SIM105 -- what it takes would be imported for this alone
            sys.stderr.write(f"petsage-grpc: the system refuses: {error.strerror}\n")
        except OSError:  # this is what can not be written to
            pass
        code = _SYSTEM
    for descriptor in (1, 2):  # or the interpreter would try once more to flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    return code


def _run(arguments: list[str]) -> int:
    verb = arguments[0] if arguments else ""
    if verb in ("-h", "--help", "help"):
        sys.stdout.write(_help())
        return 0
    if verb in ("-V", "-version", "--version"):
        from petsage_grpc import __version__  # noqa: PLC0415 -- only here

        sys.stdout.write(f"petsage-grpc {__version__}\n")
        return 0
    if verb not in VERBS:
        problem = f"unknown verb {verb!r}" if verb else "which verb?"
        sys.stderr.write(
            f"petsage-grpc: {problem}: use one of {', '.join(VERBS)};"
            " petsage-grpc --help says more\n"
        )
        return _BAD_USAGE
    import importlib  # noqa: PLC0415 -- only when there is a verb

    run: Callable[[Sequence[str]], int] = importlib.import_module(f"petsage_grpc.cli.{verb}").main
    return run(arguments[1:])


def _help() -> str:
    verbs = "".join(f"  {verb:<8}{text}\n" for verb, text in VERBS.items())
    return (
        "usage: petsage-grpc VERB [options]\n\n"
        "The health service of a Python gRPC backend.\n\n"
        f"{verbs}\n"
        "`petsage-grpc VERB --help` tells the options of a verb.\n"
    )

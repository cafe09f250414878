"""Reads a command line by the rules of Go's flag package, as probe's users know it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

__all__ = ["Flags", "UsageError", "parse_flags"]

Flags = Mapping[str, Callable[[str], object]]
"""What reads the value of each flag; `bool` for a switch. A reader raises ValueError."""

_SWITCH: Final = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}


class UsageError(ValueError):
    """The command line is wrong; the message says how, and the mend."""


def parse_flags(arguments: Sequence[str], flags: Flags) -> list[tuple[str, Any]]:
    """Return each flag given, without its dashes, with its value, in the order given.

    One dash or two, ``-flag value`` or ``-flag=value``; a switch takes a value after ``=`` alone.
    Raises UsageError for anything else.
    """
    given: list[tuple[str, Any]] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--" and not rest:
            break
        if not argument.startswith("-") or argument in ("-", "--"):
            raise UsageError(_positional(argument, given, flags))
        name, equals, value = argument.removeprefix("-").removeprefix("-").partition("=")
        if not name or name.startswith("-"):
            raise UsageError("a flag has one dash or two and a name; write -flag=value")
        read = flags.get(name)
        if read is None:
            raise UsageError(_unknown(name, flags))
        if not equals:
            if read is not bool and not rest:
                raise UsageError(f"-{name} needs a value; write -{name}=VALUE")
            value = "true" if read is bool else rest.pop(0)
        given.append((name, _read(name, value, read)))
    return given


def _read(name: str, value: str, read: Callable[[str], object]) -> object:
    if read is bool:
        if value not in _SWITCH:
            raise UsageError(f'-{name} is a switch, not "{value}"; write -{name}')
        return _SWITCH[value]
    try:
        return read(value)
    except ValueError as error:
        raise UsageError(f"-{name}: {error}") from None


def _positional(argument: str, given: list[tuple[str, Any]], flags: Flags) -> str:
    if not given or argument == "--":
        return f'"{argument}" belongs to no flag; leave it out'
    name = given[-1][0]
    if flags[name] is not bool:
        # not shown, because it may be the rest of a secret that was not quoted
        return f"more follows the value of -{name}; quote a value that has spaces"
    return f'"{argument}" belongs to no flag; leave it out, or write -{name}={argument}'


def _unknown(name: str, flags: Flags) -> str:
    import difflib  # noqa: PLC0415 -- only a mistake needs it

    close = difflib.get_close_matches(name, flags, n=1)
    mend = f"did you mean -{close[0]}?" if close else "-help lists the flags"
    return f"unknown flag -{name}; {mend}"

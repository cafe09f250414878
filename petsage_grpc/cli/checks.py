"""The verb `checks`: tells what can be checked and set, and whether a settings file is right."""

import dataclasses
import json
import sys
import textwrap
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from petsage_grpc.checks import KINDS, load_kind
from petsage_grpc.cli._arguments import Parser
from petsage_grpc.core.policy import Policy
from petsage_grpc.core.units import Duration, Size, format_duration
from petsage_grpc.errors import PetsageError
from petsage_grpc.settings import Settings
from petsage_grpc.settings_load import fields_of, load_settings

__all__ = ["main"]

_WIDTH = 80
_TYPES = {str: "string", bool: "true/false", int: "whole number", float: "number",
          Duration: "duration", Size: "size"}  # fmt: skip


def main(argv: Sequence[str]) -> int:
    """List the kinds of checks, or validate a file; return the exit code."""
    parser = Parser(
        "checks",
        "List the settings with their defaults, and the kinds of checks with theirs.",
        bad_usage=2,
        epilog="exit codes: 0 all is right, 2 bad settings or arguments",
    )
    parser.add_argument(
        "-c", "--config", metavar="FILE", help="validate this settings file and say what it checks"
    )
    arguments = parser.parse_args(argv)
    if arguments.config is None:
        sys.stdout.write(_reference())
        return 0
    try:
        settings = load_settings(arguments.config)
    except PetsageError as error:
        sys.stderr.write(f"petsage-grpc checks: {error}\n")
        return error.exit_code
    sys.stdout.write(_summary(arguments.config, settings))
    return 0


def _reference() -> str:
    service = [field for field in fields_of(Settings) if field[0] not in ("checks", "groups")]
    blocks = [f"the service\n{_table(service)}"]
    for kind in KINDS:
        cls = load_kind(kind)
        what = _indented((cls.__doc__ or "").partition("\n")[0], 2)
        blocks.append(f"kind = {_toml(kind)}\n{what}{_table(fields_of(cls))}")
    blocks.append(f"every check also has\n{_table(fields_of(Policy))}")
    return "\n".join(blocks)


def _table(fields: Iterable[tuple[str, Any, Any, str]]) -> str:
    return "".join(
        f"  {name} = {_toml(default, hint)}  ({_type(hint)})\n{_indented(text, 6)}"
        for name, hint, default, text in fields
    )


def _indented(text: str, by: int) -> str:
    margin = " " * by
    lines = textwrap.fill(text, _WIDTH, initial_indent=margin, subsequent_indent=margin)
    return f"{lines}\n" if text else ""


def _summary(path: str, settings: Settings) -> str:
    lines = [f"{path}: all is right\n"]
    for name, check in settings.checks.items():
        gates = ", ".join(check.policy.gates) or "nothing (reported only)"
        every = format_duration(check.policy.interval)
        lines.append(f"  check {name} ({check.kind}) every {every} gates {gates}\n")
    lines += [f"  group {_toml(n)}: {', '.join(c)}\n" for n, c in settings.groups.items()]
    return "".join(lines)


def _type(hint: Any) -> str:  # noqa: ANN401 -- any type that a setting may have
    if typing.get_origin(hint) is tuple:
        return f"list of {_type(typing.get_args(hint)[0])}s"
    if typing.get_origin(hint) is Mapping:
        return f"table of {_type(typing.get_args(hint)[1])}s"
    return _TYPES[hint]


def _toml(value: Any, hint: Any = str) -> str:  # noqa: ANN401 -- any value that a setting may have
    if value is dataclasses.MISSING:
        return "(must be set)"
    if value is None:
        return "(not set)"
    if hint is Size:
        for unit, size in (("MiB", 1024**2), ("KiB", 1024)):
            if value and value % size == 0:
                return f'"{value // size}{unit}"'
    if isinstance(value, float):
        return f"{value:g}"
    return json.dumps(value, default=dict, ensure_ascii=False)

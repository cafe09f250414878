"""The verb `checks`: tells what can be checked and set, and whether a settings file is right."""

import contextlib
import dataclasses
import json
import signal
import sys
import textwrap
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from petsage_grpc.checks import brought_kinds, kind_names, load_kind
from petsage_grpc.cli._arguments import Parser
from petsage_grpc.core.policy import Policy
from petsage_grpc.core.units import Duration, Size
from petsage_grpc.errors import PetsageError
from petsage_grpc.settings import BadSettingError, CheckSettings, FeatureSettings, Settings
from petsage_grpc.settings_exposure import exposure_risks
from petsage_grpc.settings_fleet import fleet_risks
from petsage_grpc.settings_load import TABLES, fields_of, load_settings
from petsage_grpc.settings_tls import tls_risks
from petsage_grpc.settings_tokens import access_risks

if TYPE_CHECKING:
    from petsage_grpc.plane.features import Feature

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
    try:
        with _ended_by_an_interrupt():
            if arguments.config is None:
                told = _reference(_mount(load_settings(environ={}))[0])
            else:
                settings = load_settings(arguments.config)
                told = _summary(arguments.config, settings, *_mount(settings))
    except PetsageError as error:
        sys.stderr.write(f"petsage-grpc checks: {error}\n")
        return error.exit_code
    sys.stdout.write(told)
    return 0


@contextlib.contextmanager
def _ended_by_an_interrupt() -> Iterator[None]:
    """Have Ctrl-C end the process: as an exception, somebody else's code could hold it up."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _mount(settings: Settings) -> "tuple[tuple[Feature, ...], dict[str, CheckSettings]]":
    """Mount the features as `serve` does, to see whether they can be; nothing is served.

    Return them, and the check of their event loop.
    """
    if not settings.has_features:
        return (), {}
    import asyncio  # noqa: PLC0415 -- only features need what it takes to serve

    from petsage_grpc.plane.features import LoadedFeatures, load_features  # noqa: PLC0415

    async def load() -> LoadedFeatures:
        return load_features(settings)

    loaded = asyncio.run(load())
    return loaded.features, loaded.checks


def _reference(features: "Iterable[Feature]") -> str:
    service = [field for field in fields_of(Settings) if field[0] not in TABLES]
    blocks = [f"the service\n{_table(service)}"]
    brought = brought_kinds()
    for kind in kind_names():
        cls = load_kind(kind)
        whose = f"  (of {brought[kind].package})" if kind in brought else ""
        what = _indented((cls.__doc__ or "").partition("\n")[0], 2)
        blocks.append(f"kind = {_toml(kind)}{whose}\n{what}{_table(fields_of(cls))}")
    blocks.append(f"every check also has\n{_table(fields_of(Policy))}")
    blocks.append(
        f"[features.NAME] can have, for each feature\n{_table(fields_of(FeatureSettings))}"
    )
    blocks += [_described(feature) for feature in features]
    return "\n".join(blocks)


def _described(feature: "Feature") -> str:
    lines = [f"{feature}\n"]
    lines += [f"  serves {name}\n" for name in feature.service_names]
    lines += [_line(name, check) for name, check in feature.checks.items()]
    return "".join(lines)


def _line(name: str, check: CheckSettings) -> str:
    gates = ", ".join(check.policy.gates) or "nothing (reported only)"
    return f"  check {name} ({check.kind}) {check.schedule} gates {gates}\n"


def _table(fields: Iterable[tuple[str, Any, Any, str]]) -> str:
    return "".join(
        f"  {name} = {_toml(default, hint)}  ({_type(hint)})\n{_indented(text, 6)}"
        for name, hint, default, text in fields
    )


def _indented(text: str, by: int) -> str:
    margin = " " * by
    lines = textwrap.fill(text, _WIDTH, initial_indent=margin, subsequent_indent=margin)
    return f"{lines}\n" if text else ""


def _summary(
    path: str,
    settings: Settings,
    features: "Iterable[Feature]",
    more: Mapping[str, CheckSettings],
) -> str:
    lines, checks = [f"{path}: all is right\n"], {**settings.checks, **more}
    lines += [_line(name, check) for name, check in checks.items()]
    lines += [f"  group {_toml(n)}: {', '.join(c)}\n" for n, c in settings.groups.items()]
    for feature in features:
        checks |= feature.checks
        lines += [f"  {line}\n" for line in _described(feature).splitlines()]
    tls = tls_risks(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
    exposed = exposure_risks(settings, contained=False)  # where it will run is not known here
    fleet = fleet_risks(checks, settings.groups)
    risks = *_unheard(settings), *fleet, *access_risks(settings), *exposed, *tls
    lines += [f"  WARNING {risk}\n" for risk in risks]
    return "".join(lines)


def _unheard(settings: Settings) -> Iterator[str]:
    """Say what `serve` refuses, and an application that embeds the plane does not."""
    try:
        settings.refuse_unheard(() if not settings.has_features else settings.checks)
    except BadSettingError as error:
        yield f"{error}; serve refuses it, and an application with a plane may beat it"


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

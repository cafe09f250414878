"""The verb `smoke`: calls SmokeTest and shows every check, as a table or as JSON."""

import argparse
import datetime
import sys
from collections.abc import Sequence
from pathlib import Path

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError

from petsage_grpc._gen.petsage.v1.smoke_test_pb2 import (
    STATUS_DEGRADED,
    STATUS_FAILING,
    STATUS_OK,
    CheckResult,
    NameOverride,
    SmokeTestRequest,
    SmokeTestResponse,
    Status,
)
from petsage_grpc.cli._arguments import Parser
from petsage_grpc.cli._ask import (
    NOT_WELL,
    OK,
    RPC,
    USAGE,
    add_target,
    age,
    connect,
    exit_code,
    name,
    say,
    timeout,
    tls_of,
)
from petsage_grpc.core.text import printable
from petsage_grpc.core.units import format_duration
from petsage_grpc.rpc.client import ClientError

__all__ = ["DEGRADED", "main"]

DEGRADED = 5
"""The exit code for a degraded backend, with --strict."""

_METHOD = "/petsage.v1.SmokeTestService/SmokeTest"
_SERVING = {True: "SERVING", False: "NOT_SERVING"}
_COLUMNS = ("CHECK", "STATUS", "AGE", "LATENCY", "FAILURES", "GATES", "MESSAGE")


def main(argv: Sequence[str]) -> int:
    """Call SmokeTest once and show the answer; return the exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    tls = tls_of(arguments, parser)
    request = SmokeTestRequest(feature=arguments.feature, checks=arguments.check)
    if arguments.max_age is not None:
        whole, part = divmod(arguments.max_age, 1)
        request.max_age.CopyFrom(Duration(seconds=int(whole), nanos=int(part * 1e9)))
    metadata = [("authorization", f"Bearer {arguments.token}")] if arguments.token else []
    try:
        with connect(arguments.address, arguments.timeout, tls) as connection:
            raw = connection.call(_METHOD, request.SerializeToString(), arguments.timeout, metadata)
        response = SmokeTestResponse.FromString(raw)
        shown = _json(response) if arguments.json else _table(response)
    except ClientError as error:
        say("smoke", error)
        return exit_code(error)
    except (DecodeError, ValueError, OverflowError) as error:
        say("smoke", f"the answer is no SmokeTestResponse: is it a petsage-grpc server? ({error})")
        return RPC
    except KeyboardInterrupt:
        say("smoke", "interrupted")
        return RPC
    sys.stdout.write(shown)
    return _exit_code(response.status, strict=arguments.strict)


def _exit_code(status: Status, *, strict: bool) -> int:
    if status == STATUS_OK:
        return OK
    if status == STATUS_DEGRADED:
        return DEGRADED if strict else OK
    return NOT_WELL


def _parser() -> Parser:
    parser = Parser(
        "smoke",
        "Call SmokeTest on a server and show what it knows of every check.",
        bad_usage=USAGE,
        epilog="exit codes: 0 ok, 1 wrong arguments, 2 no connection, 3 the RPC failed,\n"
        "            4 failing, 5 degraded with --strict",
    )
    add_target(parser)
    parser.add_argument(
        "--feature", type=name, default="", metavar="NAME", help="ask for one feature"
    )
    parser.add_argument(
        "--check", type=name, action="append", default=[], metavar="NAME",
        help="show this check only; may be given more than once",
    )  # fmt: skip
    parser.add_argument(
        "--max-age", type=age, metavar="TIME",
        help="have results older than this fetched anew, such as 5s or 0",
    )  # fmt: skip
    parser.add_argument(
        "--timeout", type=timeout, default=5.0, metavar="TIME",
        help="for the connection, and again for the answer (default: 5s)",
    )  # fmt: skip
    parser.add_argument(
        "--token-file", dest="token", type=_token, metavar="FILE",
        help="send the first token in this file, to be told why a check fails; - is standard input",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    parser.add_argument("--strict", action="store_true", help="exit 5 when it is degraded")
    return parser


def _json(response: SmokeTestResponse) -> str:
    from google.protobuf.json_format import MessageToJson  # noqa: PLC0415 -- only for JSON

    return MessageToJson(response, always_print_fields_with_no_presence=True) + "\n"


def _table(response: SmokeTestResponse) -> str:
    now = response.timestamp.ToDatetime(datetime.UTC)
    up = (now - response.start_time.ToDatetime(datetime.UTC)).total_seconds()
    facts = (
        _word(response.status),
        f"feature {response.feature}",
        f"version {response.version}",
        f"instance {response.instance}",
        f"up {format_duration(round(up))}",
        f"at {now:%Y-%m-%dT%H:%M:%SZ}",
    )
    lines = [printable(response.message), printable("  ".join(facts))]
    rows = [_COLUMNS, *(_row(check, now) for check in response.checks)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines += ["", *("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)]
    if response.overrides:
        lines += ["", *(printable(_override(told, now)) for told in response.overrides)]
    if response.refused:
        counts = ", ".join(f"{name} {count}" for name, count in sorted(response.refused.items()))
        lines += ["", printable(f"refused since the start, by limit: {counts}")]
    return "\n".join(lines) + "\n"


def _token(path: str) -> str:
    """Read the token that a flag names the file of, for argparse: it must not be the token."""
    from petsage_grpc.settings_references import read_text  # noqa: PLC0415 -- few send one
    from petsage_grpc.settings_tokens import parse_tokens, shown  # noqa: PLC0415

    try:
        text = sys.stdin.read() if path == "-" else read_text(Path(path))
        return parse_tokens(text)[0]
    except ValueError as error:  # also for what is not UTF-8
        where = "standard input" if path == "-" else shown(path)
        raise argparse.ArgumentTypeError(f"{where} {error}") from None


def _override(told: NameOverride, now: datetime.datetime) -> str:
    """Say what is said of a name, for how long, and what it stands over."""
    left, by_checks = "", ""
    if told.HasField("expires_at"):
        seconds = (told.expires_at.ToDatetime(datetime.UTC) - now).total_seconds()
        left = f" for {format_duration(round(max(0.0, seconds)))} more"
    if told.HasField("serving_by_checks"):
        by_checks = f" (by its checks: {_SERVING[told.serving_by_checks]})"
    reason = f": {told.reason}" if told.reason else ""
    return f"{told.name} is set {_SERVING[told.serving]}{left}{by_checks}{reason}"


def _row(check: CheckResult, now: datetime.datetime) -> tuple[str, ...]:
    since = latency = "-"
    if check.HasField("checked_at"):
        seconds = (now - check.checked_at.ToDatetime(datetime.UTC)).total_seconds()
        since = format_duration(round(max(0.0, seconds), 1))
        latency = format_duration(check.latency.ToNanoseconds() / 1e9)
    gates = ", ".join(gate or '""' for gate in check.gates) or "-"
    message = check.detail or check.message or "-"
    failures = str(check.consecutive_failures)
    cells = (check.name, _word(check.status), since, latency, failures, gates, message)
    return tuple(map(printable, cells))


def _word(status: Status) -> str:
    words = {STATUS_OK: "OK", STATUS_DEGRADED: "DEGRADED", STATUS_FAILING: "FAILING"}
    return words.get(status, f"STATUS {int(status)}")

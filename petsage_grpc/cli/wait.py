"""The verb `wait`: for scripts that must not go on before a server is serving."""

import sys
import time
from collections.abc import Sequence

from petsage_grpc.cli._arguments import Parser
from petsage_grpc.cli._ask import (
    CONNECT,
    NOT_WELL,
    OK,
    RPC,
    USAGE,
    add_target,
    connect,
    exit_code,
    name,
    say,
    timeout,
    tls_of,
)
from petsage_grpc.core.units import format_duration
from petsage_grpc.rpc.client import AddressError, ClientError, Tls, TlsOptionError
from petsage_grpc.rpc.client.health_codec import CHECK, decode_status, encode_request, status_name

__all__ = ["main"]

_PATIENCE = 1.0  # seconds for each try, where more are left


def main(argv: Sequence[str]) -> int:
    """Wait until the server is serving or the time is over; return the exit code."""
    parser = Parser(
        "wait",
        "Return as soon as a server answers SERVING, or when the time is over.",
        bad_usage=USAGE,
        epilog="exit codes: 0 serving, 1 wrong arguments; when the time is over what\n"
        "            the last try ended with: 2 no connection, 3 the RPC failed,\n"
        "            4 not serving",
    )
    add_target(parser)
    parser.add_argument(
        "--service",
        type=name,
        default="",
        metavar="NAME",
        help='the health name (default: "", all of it)',
    )
    parser.add_argument(
        "--timeout", type=timeout, default=60.0, metavar="TIME",
        help="how long to wait at most (default: 60s)",
    )  # fmt: skip
    parser.add_argument(
        "--every", type=timeout, default=0.25, metavar="TIME",
        help="time between two tries (default: 250ms)",
    )  # fmt: skip
    arguments = parser.parse_args(argv)
    tls = tls_of(arguments, parser)
    started = time.monotonic()
    end, shown = started + arguments.timeout, ""
    try:
        while True:
            patience = min(_PATIENCE, end - time.monotonic())
            cut_short = shown and patience < _PATIENCE
            outcome = _try(arguments.address, arguments.service, patience, tls)
            if not cut_short or outcome[0] in (OK, NOT_WELL):
                code, said, hopeless = outcome  # one that our own deadline ended says nothing
            waited = format_duration(round(time.monotonic() - started, 1))
            if code == OK:
                sys.stderr.write(f"status: SERVING after {waited}\n")
            elif said != shown:
                say("wait", said)
                shown = said
            if code == OK or hopeless:
                return code
            time.sleep(max(0.0, min(arguments.every, end - time.monotonic())))
            if time.monotonic() >= end:
                say("wait", f"gave up after {waited}")
                return code
    except KeyboardInterrupt:
        say("wait", "interrupted")
        return CONNECT


def _try(address: str, service: str, patience: float, tls: Tls | None) -> tuple[int, str, bool]:
    """Ask once; return the exit code that it means, what was seen, and whether it is hopeless."""
    try:
        with connect(address, patience, tls) as connection:
            answer = connection.call(CHECK, encode_request(service), patience)
        status = status_name(decode_status(answer))
    except ClientError as error:
        hopeless = isinstance(error, AddressError | TlsOptionError)
        return exit_code(error), str(error), hopeless
    except ValueError as error:
        return RPC, f"the answer is no HealthCheckResponse: {error}", False
    return (OK if status == "SERVING" else NOT_WELL), f"status: {status}", False

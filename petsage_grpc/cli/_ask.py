"""What the verbs that ask a server share: where it is, how to connect, and what a failure means."""

import argparse
import sys
from typing import Final

from petsage_grpc.cli._arguments import Parser
from petsage_grpc.core.text import printable, utf8
from petsage_grpc.core.units import parse_duration
from petsage_grpc.rpc.client import (
    AddressError,
    ClientError,
    ConnectError,
    Connection,
    RpcError,
    Tls,
    TlsOptionError,
    parse_address,
)

__all__ = ["CONNECT", "NOT_WELL", "OK", "RPC", "USAGE", "add_target", "age", "connect",
           "exit_code", "name", "say", "timeout", "tls_of"]  # fmt: skip

OK, USAGE, CONNECT, RPC, NOT_WELL = 0, 1, 2, 3, 4
"""The exit codes, as those of probe."""

_LONGEST: Final = 366 * 86400.0  # seconds
_LONGEST_LINE: Final = 1000  # characters; a server can say what it likes
_TLS_FLAGS: Final = (
    ("ca-cert", "FILE", "trust these certificates (default: the system's)"),
    ("client-cert", "FILE", "our own certificate; needs --tls-client-key"),
    ("client-key", "FILE", "its key"),
    ("server-name", "NAME", "the name that the server's certificate must carry"),
)


def age(text: str) -> float:
    """Read the seconds of a flag that may be 0, for argparse."""
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if seconds > _LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is more than a year: write less, like 1h")
    return float(seconds)


def timeout(text: str) -> float:
    """Read the seconds of a flag that must be longer than 0, for argparse."""
    seconds = age(text)
    if seconds == 0:
        raise argparse.ArgumentTypeError("it must be longer than 0, like 1s")
    return seconds


def name(text: str) -> str:
    """Read the name of something, for argparse."""
    try:
        return utf8(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_target(parser: Parser) -> None:
    """Let a verb take the address of a server, and how to speak TLS with it."""
    parser.add_argument(
        "address", metavar="ADDR", help="HOST:PORT, [IPV6]:PORT, :PORT or unix:PATH"
    )
    tls = parser.add_argument_group("TLS")
    tls.add_argument("--tls", action="store_true", help="use TLS (default: plaintext)")
    for flag, metavar, text in _TLS_FLAGS:
        tls.add_argument(f"--tls-{flag}", default="", metavar=metavar, help=text)
    tls.add_argument(
        "--tls-no-verify", action="store_true", help="accept any certificate: INSECURE"
    )


def tls_of(arguments: argparse.Namespace, parser: Parser) -> Tls | None:
    """Gather what the flags say of TLS; end with a usage error where they contradict each other."""
    tls = Tls(
        ca_cert=arguments.tls_ca_cert,
        client_cert=arguments.tls_client_cert,
        client_key=arguments.tls_client_key,
        server_name=arguments.tls_server_name,
        no_verify=arguments.tls_no_verify,
    )
    if bool(tls.client_cert) != bool(tls.client_key):
        parser.error("--tls-client-cert and --tls-client-key go together: give both or neither")
    if tls.no_verify and (tls.ca_cert or tls.server_name):
        parser.error("--tls-no-verify would use neither --tls-ca-cert nor --tls-server-name")
    given = tls.ca_cert or tls.client_cert or tls.server_name or tls.no_verify
    if given and not arguments.tls:
        parser.error("a --tls-… flag was given without --tls: add --tls")
    return tls if arguments.tls else None


def connect(address: str, within: float, tls: Tls | None) -> Connection:
    """Connect to the server at `address` within so many seconds; raises ClientError."""
    try:
        return Connection.connect(parse_address(address), within, tls)
    except (ConnectError, TlsOptionError) as error:  # they name the flags as probe has them
        error.args = (f" {error}".replace(" -tls", " --tls")[1:],)
        raise


def exit_code(error: ClientError) -> int:
    """Say with which code a verb ends that failed so."""
    if isinstance(error, RpcError):
        return RPC
    if isinstance(error, ConnectError):
        return CONNECT
    assert isinstance(error, AddressError | TlsOptionError), error
    return USAGE


def say(verb: str, error: object) -> None:
    """Print one line to standard error."""
    sys.stderr.write(printable(f"petsage-grpc {verb}: {error}")[:_LONGEST_LINE] + "\n")

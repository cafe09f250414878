"""The verb `probe`: asks once for health, with grpc_health_probe's flags, words and exit codes."""

import contextlib
import gc
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from petsage_grpc import __version__
from petsage_grpc.cli._goflags import Flags, UsageError, parse_flags
from petsage_grpc.core.text import printable, utf8
from petsage_grpc.core.units import format_duration, parse_duration

if TYPE_CHECKING:
    from petsage_grpc.rpc.client import Connection, RpcError

__all__ = ["ARGUMENTS", "CONNECT", "NOT_SERVING", "RPC", "SERVING", "main"]

SERVING, ARGUMENTS, CONNECT, RPC, NOT_SERVING = 0, 1, 2, 3, 4
"""The exit codes."""

_LONGEST: Final = 86400.0  # seconds
_LONGEST_LINE: Final = 1000  # characters; a server can say what it likes
_DEADLINE_EXCEEDED, _NOT_FOUND, _UNIMPLEMENTED = 4, 5, 12

_HELP: Final = """\
usage: petsage-grpc probe -addr=HOST:PORT [flags]

Ask a gRPC server once for its health, in place of grpc_health_probe. A flag
takes one dash or two and its value after "=" or a space; a duration is written
like 500ms, 1s or 1m30s.

what to ask
  -addr HOST:PORT         the server; also [IPV6]:PORT, :PORT and unix:PATH
  -service NAME           the name to ask for (default: "", the whole server)
  -rpc-header "NAME: V"   send this header with it; may be given more than once
  -user-agent TEXT        the user agent to send
                          (default: petsage-grpc-probe/VERSION)
  -gzip                   compress the request

how long to wait
  -connect-timeout TIME   for the connection (default: 1s)
  -rpc-timeout TIME       for the answer (default: 1s)

TLS
  -tls                    use TLS (default: plaintext)
  -tls-ca-cert FILE       trust these certificates (default: the system's)
  -tls-client-cert FILE   our own certificate; needs -tls-client-key
  -tls-client-key FILE    its key; needs -tls-client-cert
  -tls-server-name NAME   the name that the server's certificate must carry
                          (default: the host of -addr)
  -tls-no-verify          accept any certificate: INSECURE

what to print
  -v                      say every step, and how long it took
  -version                print the version and end
  -h, -help               print this and end

exit codes: 0 serving, 1 wrong arguments, 2 no connection, 3 the RPC failed,
            4 not serving
"""


def _read_time(text: str) -> float:
    seconds = parse_duration(text.removeprefix("+"))
    if not 0 < seconds <= _LONGEST:
        raise ValueError("it must be longer than 0 and at most 24h, like 1s")
    return seconds


def _read_header(text: str) -> tuple[str, str]:
    from petsage_grpc.rpc.client import check_metadata  # noqa: PLC0415 -- few give headers

    name, colon, value = text.partition(":")
    if not colon:
        # what stands there may be a secret that lost its name
        raise ValueError('the colon is missing; write -rpc-header="NAME: VALUE"')
    check_metadata(name, value)
    return name, value


def _read_user_agent(text: str) -> str:
    from petsage_grpc.rpc.client import check_value  # noqa: PLC0415 -- few give one

    return check_value(text)


_FLAGS: Final[Flags] = {
    "addr": str,
    "service": utf8,
    "rpc-header": _read_header,
    "user-agent": _read_user_agent,
    "gzip": bool,
    "connect-timeout": _read_time,
    "rpc-timeout": _read_time,
    "tls": bool,
    "tls-ca-cert": str,
    "tls-client-cert": str,
    "tls-client-key": str,
    "tls-server-name": str,
    "tls-no-verify": bool,
    "v": bool,
    "version": bool,
    "h": bool,
    "help": bool,
}


class _Options:
    """What the flags say; each attribute is named after its flag. Times are seconds."""

    addr = ""
    service = ""
    user_agent = f"petsage-grpc-probe/{__version__}"
    gzip = False
    connect_timeout = 1.0
    rpc_timeout = 1.0
    tls = False
    tls_ca_cert = ""
    tls_client_cert = ""
    tls_client_key = ""
    tls_server_name = ""
    tls_no_verify = False
    v = False
    version = False
    h = False
    help = False

    def __init__(self) -> None:
        self.rpc_headers: list[tuple[str, str]] = []


def main(argv: Sequence[str]) -> int:
    """Probe as the flags in `argv` say; return the exit code."""
    collects = gc.isenabled()
    gc.disable()  # so short a life leaves nothing to collect; this saves a seventh of it
    try:
        return _run(argv)
    finally:
        gc.freeze()  # or the interpreter would look through everything once more when it ends
        if collects:
            gc.enable()


def _run(argv: Sequence[str]) -> int:
    try:
        options = _read_options(argv)
        if options.help or options.h:
            sys.stdout.write(_HELP)
            return SERVING
        if options.version:
            sys.stdout.write(f"petsage-grpc-probe {__version__}\n")
            return SERVING
        _check_options(options)
        return _probe(options)
    except UsageError as error:
        _say(f"error: {error}")
        return ARGUMENTS
    except KeyboardInterrupt:
        _say("cancellation received")
        return CONNECT


def _read_options(argv: Sequence[str]) -> _Options:
    options = _Options()
    for flag, value in parse_flags(argv, _FLAGS):
        if flag == "rpc-header":
            options.rpc_headers.append(value)
        else:
            setattr(options, flag.replace("-", "_"), value)
    return options


def _check_options(options: _Options) -> None:
    """Raise UsageError when the options do not fit together."""
    if not options.addr:
        raise UsageError("-addr not specified; write -addr=HOST:PORT")
    if not options.tls:
        for flag in _FLAGS:
            if flag.startswith("tls-") and getattr(options, flag.replace("-", "_")):
                raise UsageError(f"specified -{flag} without specifying -tls; add -tls")
    if options.tls_client_cert and not options.tls_client_key:
        raise UsageError("specified -tls-client-cert without -tls-client-key; add its key's file")
    if options.tls_client_key and not options.tls_client_cert:
        raise UsageError("specified -tls-client-key without -tls-client-cert; add the certificate")
    if options.tls_no_verify and options.tls_ca_cert:
        raise UsageError("-tls-no-verify would not use -tls-ca-cert; leave one of them out")
    if options.tls_no_verify and options.tls_server_name:
        raise UsageError("-tls-no-verify would not use -tls-server-name; leave one of them out")


def _probe(options: _Options) -> int:
    from petsage_grpc.rpc.client import (  # noqa: PLC0415 -- a wrong flag need not wait for it
        AddressError,
        ConnectError,
        Connection,
        Tls,
        TlsOptionError,
        parse_address,
    )

    tls = Tls(
        ca_cert=options.tls_ca_cert,
        client_cert=options.tls_client_cert,
        client_key=options.tls_client_key,
        server_name=options.tls_server_name,
        no_verify=options.tls_no_verify,
    )
    if options.v:
        _say_options(options)
        _say("establishing connection")
    started = time.monotonic()
    try:
        connection = Connection.connect(
            parse_address(options.addr),
            options.connect_timeout,
            tls if options.tls else None,
            options.user_agent,
        )
    except TlsOptionError as error:
        _say(f"error: {error}")
        return ARGUMENTS
    except (AddressError, ConnectError) as error:
        # always "timeout", even when there was none: people search their logs for these words
        within = format_duration(options.connect_timeout)
        start = f'timeout: failed to connect service "{options.addr}" within {within}'
        _say(f"{start}: {error.reason}")
        return CONNECT
    took = time.monotonic() - started
    with connection:
        if options.v:
            _say(f"connection established (took {format_duration(took)})")
        try:
            return _ask(connection, options, took)
        except KeyboardInterrupt:
            _say("cancellation received")
            return RPC


def _ask(connection: "Connection", options: _Options, connect_took: float) -> int:
    from petsage_grpc.rpc.client import RpcError  # noqa: PLC0415 -- imported already
    from petsage_grpc.rpc.client.health_codec import (  # noqa: PLC0415 -- only with a connection
        CHECK,
        decode_status,
        encode_request,
        status_name,
    )

    started = time.monotonic()
    try:
        answer = connection.call(
            CHECK,
            encode_request(options.service),
            options.rpc_timeout,
            options.rpc_headers,
            gzip=options.gzip,
        )
        status = status_name(decode_status(answer))
    except RpcError as error:
        _say(_rpc_failure(error, options))
        return RPC
    except ValueError as error:
        _say(f"error: health rpc failed: the answer is no HealthCheckResponse ({error})")
        return RPC
    if options.v:
        rpc_took = time.monotonic() - started
        connect, rpc = format_duration(connect_took), format_duration(rpc_took)
        _say(f"time elapsed: connect={connect} rpc={rpc}")
    if status != "SERVING":
        _say(f'service unhealthy (responded with "{status}")')
        return NOT_SERVING
    _say("status: SERVING")
    return SERVING


def _rpc_failure(error: "RpcError", options: _Options) -> str:
    details = f": {error.details}" if error.details else ""
    if error.code == _UNIMPLEMENTED:
        return (
            "error: this server does not implement the grpc health protocol"
            f" (grpc.health.v1.Health){details}"
        )
    if error.code == _DEADLINE_EXCEEDED:
        within = format_duration(options.rpc_timeout)
        return f"timeout: health rpc did not complete within {within}"
    if error.code == _NOT_FOUND:
        details = f': the server does not know service "{options.service}"{details}'
    return f"error: health rpc failed: {error.name}{details}"


def _say_options(options: _Options) -> None:
    connect, rpc = format_duration(options.connect_timeout), format_duration(options.rpc_timeout)
    _say("parsed options:")
    _say(f"> addr={options.addr} conn_timeout={connect} rpc_timeout={rpc}")
    gzip, tls, no_verify = (
        str(switch).lower() for switch in (options.gzip, options.tls, options.tls_no_verify)
    )
    _say(f"> service={options.service} gzip={gzip} user-agent={options.user_agent}")
    if options.rpc_headers:
        # names alone, because a value may be a secret
        _say(f"> headers: {', '.join(name for name, _ in options.rpc_headers)}")
    _say(f"> tls={tls}")
    if options.tls:
        _say(f"  > no-verify={no_verify}")
        _say(f"  > ca-cert={options.tls_ca_cert}")
        _say(f"  > client-cert={options.tls_client_cert}")
        _say(f"  > client-key={options.tls_client_key}")
        _say(f"  > server-name={options.tls_server_name}")


def _say(line: str) -> None:
    """Print one line to standard error, whatever is in it and whether or not anybody reads it."""
    if sys.stderr:
        with contextlib.suppress(OSError):
            sys.stderr.write(f"{printable(line)[:_LONGEST_LINE]}\n")

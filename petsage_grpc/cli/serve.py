"""The verb `serve`: runs the service as a process of its own."""

import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from petsage_grpc.cli._arguments import Parser

if TYPE_CHECKING:
    from petsage_grpc.settings import Settings

__all__ = ["main"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LAST_LINES = 1.0  # seconds that a slow standard output gets to take what is left


def main(argv: Sequence[str]) -> int:
    """Run the service until it is told to stop; return the exit code."""
    stopped_early: list[int] = []
    for number in _SIGNALS:  # importing takes a while, and a signal may come meanwhile
        signal.signal(number, lambda received, _: stopped_early.append(received))
    arguments = _parser().parse_args(argv)

    from petsage_grpc.errors import PetsageError  # noqa: PLC0415 -- after the signals are caught
    from petsage_grpc.settings_load import load_settings  # noqa: PLC0415

    try:
        settings = load_settings(arguments.config, listen=arguments.listen)
        return 0 if stopped_early else _serve(settings, stopped_early)
    except PetsageError as error:
        sys.stderr.write(f"petsage-grpc serve: {error}\n")
        return error.exit_code


def _parser() -> Parser:
    parser = Parser(
        "serve",
        "Run the health service until SIGTERM or SIGINT; then drain and stop.",
        bad_usage=2,
        epilog="Every setting can stand in the file, or in a variable such as\n"
        "PETSAGE_DRAIN_DELAY=2.\n\nexit codes: 0 stopped as told, 2 bad settings, 3 can not bind",
    )
    parser.add_argument(
        "-l",
        "--listen",
        action="append",
        metavar="HOST:PORT",
        help="address to listen on, or unix:PATH; may be given more than once"
        " (default: 127.0.0.1:50051)",
    )
    parser.add_argument("-c", "--config", metavar="FILE", help="settings file (TOML)")
    return parser


def _serve(settings: "Settings", stopped_early: list[int]) -> int:
    import asyncio  # noqa: PLC0415 -- after the signals are caught

    from petsage_grpc.plane.logs import LogPipeline  # noqa: PLC0415
    from petsage_grpc.plane.service import Service  # noqa: PLC0415

    async def live() -> None:
        service = Service(settings)
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, service.request_stop)
        if not stopped_early:
            await service.run()

    with LogPipeline(settings.log_level) as logs:
        asyncio.run(live())
        flushed = logs.flush(_LAST_LINES)
    if not flushed:
        # The interpreter would wait for ever for a standard output that takes nothing.
        os._exit(0)
    return 0

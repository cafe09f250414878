"""The verb `serve`: runs the service as a process of its own."""

import contextlib
import functools
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from petsage_grpc.cli._arguments import Parser

if TYPE_CHECKING:
    import asyncio

    from petsage_grpc.settings import Settings

__all__ = ["main"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LAST_LINES = 1.0  # seconds that a slow standard output gets to take what is left


class _Signals:
    """Hears SIGTERM and SIGINT from the first import to the last line, and tells who listens."""

    def __init__(self) -> None:
        self.received = 0
        self.listener: Callable[[], object] | None = None
        for number in _SIGNALS:
            signal.signal(number, self._receive)

    def _receive(self, *_: object) -> None:
        self.received += 1
        if self.listener is None:
            os._exit(0)  # nothing listens yet, and what holds the start may hold it for long
        self.listener()
        if self.received > 1:  # it stops at once already; a storm of them would only slow it down
            self.ignore()

    def wake(self, loop: "asyncio.AbstractEventLoop") -> None:
        """Have signals wake the event loop, whichever thread the system interrupts for them."""
        import socket  # noqa: PLC0415 -- after the signals are caught

        self._reading, self._writing = socket.socketpair()
        for end in (self._reading, self._writing):
            end.settimeout(0)
        loop.add_reader(self._reading, self._reading.recv, 4096)
        signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)

    def ignore(self) -> None:
        """Let nothing disturb what is left to do: a default handler would end it with an error."""
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def main(argv: Sequence[str]) -> int:
    """Run the service until it is told to stop; return the exit code."""
    signals = _Signals()  # importing takes a while, and a signal may come meanwhile
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what goes wrong is told by us, once
    arguments = _parser().parse_args(argv)

    from petsage_grpc.errors import PetsageError  # noqa: PLC0415 -- after the signals are caught
    from petsage_grpc.settings_load import load_settings  # noqa: PLC0415

    code, has_features = 0, False
    try:
        settings = load_settings(arguments.config, listen=arguments.listen)
        has_features = settings.has_features
        _serve(settings, signals)
    except PetsageError as error:
        sys.stderr.write(f"petsage-grpc serve: {error}\n")
        code = error.exit_code
    if has_features:  # the interpreter would wait for ever for a thread that a feature keeps busy
        with contextlib.suppress(OSError):
            sys.stderr.flush()
        os._exit(code)
    return code


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


def _serve(settings: "Settings", signals: _Signals) -> None:
    import asyncio  # noqa: PLC0415 -- after the signals are caught

    from petsage_grpc.plane.logs import LogPipeline, Redactor  # noqa: PLC0415
    from petsage_grpc.plane.loop import PlaneLoop  # noqa: PLC0415
    from petsage_grpc.plane.service import Service  # noqa: PLC0415
    from petsage_grpc.rpc.limits import raise_file_limit  # noqa: PLC0415

    async def live() -> None:
        loop = asyncio.get_running_loop()
        signals.wake(loop)
        service = await Service.hosting(settings)
        logs.set_redactor(service.redact)
        signals.listener = lambda: loop.call_soon_threadsafe(service.request_stop)
        try:
            await service.run()
        finally:
            signals.ignore()

    redact = Redactor(check.check for check in settings.checks.values())
    with LogPipeline(settings.log_level, redact=redact) as logs:
        raise_file_limit(settings.max_connections)
        made = functools.partial(PlaneLoop, settings.switch_interval)
        try:
            with asyncio.Runner(loop_factory=made) as runner:
                runner.run(live())
        finally:
            if not logs.close(_LAST_LINES) and sys.exception() is None:
                # The interpreter would wait for ever for a standard output that takes nothing.
                os._exit(0)

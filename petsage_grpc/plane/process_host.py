"""Hosts the plane in a process of its own: what holds or ends the application delays no answer."""

import asyncio
import concurrent.futures
import contextlib
import logging
import pickle
import subprocess
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from petsage_grpc import errors
from petsage_grpc.checks._thread import set_thread_limit
from petsage_grpc.checks.heartbeat import HeartbeatCheck
from petsage_grpc.core.clock import boot_time
from petsage_grpc.core.units import format_duration
from petsage_grpc.errors import PetsageError, PlaneError, SettingsError
from petsage_grpc.plane.answering import Answering
from petsage_grpc.plane.cells import APPLICATION, PLANE, Cells
from petsage_grpc.plane.host import Said
from petsage_grpc.plane.link import Link
from petsage_grpc.plane.loop import PlaneLoop
from petsage_grpc.plane.process_ledger import Ledger
from petsage_grpc.plane.process_spawn import (
    end_of,
    leave_signals_alone,
    socket_pair,
    spawn,
    working_directory,
)  # fmt: skip
from petsage_grpc.plane.process_table import checks_here, table_for
from petsage_grpc.settings import CheckSettings, Settings

__all__ = ["ProcessHost"]

_START: Final = 60.0
"""Seconds in which the process has to listen."""
_RESTART: Final = 15.0
"""Likewise, for one that comes after another."""
_END: Final = 2.0
"""Seconds beyond its grace time after which the process is killed."""
_SILENCE: Final = 10.0
"""Seconds without a beat of the process after which it is killed, and another one started."""
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 0.5
"""Seconds between the end of a process and the start of the next, doubled with each that is short.

It is back in two seconds all the same, and one that always fails takes half a core at most."""
_LONG_LIFE: Final = 10.0
_PATIENCE: Final = 5.0
_MOST_REPORTS: Final = 32
_BEATS_IN_SILENCE: Final = 10
_LOOK_EVERY: Final = 1.0
_log = logging.getLogger("petsage_grpc.plane")


class ProcessHost:
    """The plane's process, and a thread that talks to it over a link.

    What the process has to know is kept here by key, and sent again to each new one. Every method
    may be called from any thread, and none but `start` and `stop` waits.

    Args:
        settings: what is wanted.
        table: what they were made of, for the process to make them again.
        checks: what was declared before the start.
        said: what was said of names before the start.
    """

    def __init__(
        self,
        settings: Settings,
        table: Mapping[str, Any],
        checks: Mapping[str, CheckSettings],
        said: Said,
    ) -> None:
        try:
            pickle.dumps(table)
        except Exception as error:  # noqa: BLE001 -- pickle lets anything through
            raise SettingsError(
                f"a setting can not be handed to the plane's process ({error}): give plain values"
            ) from None
        self._settings = settings
        self._table = table
        self._directory = working_directory()  # the checks' own files may be named from there
        self._cells = Cells.make()
        self._answering = Answering(self._put)
        self._ledger = Ledger(settings, self._cells, self._answering, self._put, said)
        self._addresses: concurrent.futures.Future[tuple[str, ...]] = concurrent.futures.Future()
        self._probe_addresses: tuple[str, ...] = ()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._link: Link | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._told: asyncio.Queue[tuple[Any, ...] | None] = asyncio.Queue()
        self._asked: list[tuple[Any, ...]] = []
        """Runs that the process asks for; none begins before it listens: one may block the loop."""
        self._stopping: asyncio.Event
        self._grace = 0.0
        self._unwanted = False
        self._over = threading.Event()
        self._looked = self._awake_since = boot_time()
        self._beats = threading.Thread(target=self._beat, name="petsage beat", daemon=True)
        self._thread = threading.Thread(target=self._run, name="petsage link", daemon=True)
        self._first_checks = {**checks_here(settings), **checks}
        try:
            for name, made in {**settings.checks, **checks}.items():
                self._ledger.prepare(name, made)
        except PetsageError:
            self._cells.close()
            raise

    def start(self) -> tuple[str, ...]:
        """Start the process; return where it listens.

        Raises BindError when an address can not be had, PlaneError when it does not start.
        """
        try:
            self._thread.start()
            return self._addresses.result()
        except BaseException:
            self.stop(0.0)
            raise

    def add_check(self, name: str, made: CheckSettings) -> None:
        """Take in one more check, which runs in this process."""
        self._ledger.prepare(name, made)
        self._post(lambda: self._ledger.declare(name, made))

    def say(self, name: str, *, serving: bool, reason: str, ttl: float | None) -> None:
        """Say how a name is."""
        until = None if ttl is None else boot_time() + ttl
        self._post(lambda: self._ledger.say(name, (serving, reason), until))

    def take_back(self, name: str) -> None:
        """Forget what was said of a name."""
        self._post(lambda: self._ledger.take_back(name))

    def drain(self) -> None:
        """Turn every name but liveness NOT_SERVING."""
        self._post(lambda: self._ledger.keep("drain", ("drain",)))

    def every(self, seconds: float, call: Callable[[], None]) -> None:
        """Call a function, which must not block, from now on in these intervals."""

        def again() -> None:
            asyncio.get_running_loop().call_later(seconds, again)  # first: the call may raise
            call()

        self._post(again)

    def is_here(self) -> bool:
        """Say whether this thread is its own."""
        return threading.current_thread() is self._thread

    def stop(self, grace: float) -> None:
        """Stop the process within the grace time, in seconds; return when it has ended."""
        self._grace = grace
        self._unwanted = True
        if self._loop is not None:
            self._post(self._ask_to_stop)
        try:
            if self._thread.ident is not None:
                self._thread.join(grace + _END + _PATIENCE)
        finally:  # an interrupt may end the wait
            self._over.set()
            if self._beats.ident is not None:
                self._beats.join()
            self._ledger.close()
            self._cells.close()

    def _run(self) -> None:
        leave_signals_alone()
        try:
            with asyncio.Runner(loop_factory=PlaneLoop) as runner:
                runner.run(self._live())
        except BaseException as error:  # noqa: BLE001 -- whoever started it is told
            if self._addresses.done():
                _log.exception("the link to the plane's process has failed")
            else:
                self._addresses.set_exception(error)
        finally:
            if self._process is not None and self._process.poll() is None:
                self._process.kill()
                self._process.wait()

    async def _live(self) -> None:
        """Keep a process running until the stop."""
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        if self._unwanted:
            self._stopping.set()
        set_thread_limit(self._settings.max_threads)
        for name, made in self._first_checks.items():
            self._ledger.declare(name, made)
        self._beats.start()
        pause = _FIRST_PAUSE
        while not self._stopping.is_set():
            begun = boot_time()
            try:
                await self._one_life()
            except Exception as error:
                if not self._addresses.done():
                    raise
                _say(logging.ERROR, "the plane's process does not start: %s", error)
            if boot_time() - begun > _LONG_LIFE:
                pause = _FIRST_PAUSE
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        await self._answering.close()

    async def _one_life(self) -> None:
        """Run one process from its start to its end. Raises PetsageError when it does not start."""
        told: asyncio.Queue[tuple[Any, ...] | None] = asyncio.Queue()
        self._told, self._asked = told, []
        ours, theirs = socket_pair()
        with theirs:
            self._process = process = spawn(
                theirs.fileno(), self._cells.descriptor, self._directory
            )
        self._cells[PLANE][0] = 0.0
        self._link = await Link.open(ours, told.put_nowait, lambda: told.put_nowait(None))
        try:
            # In one piece: none of it may be overtaken by what is said meanwhile.
            known = [*self._ledger.messages.values()]
            self._link.put("begin", ("begin", self._table_now(), self._ledger.heartbeats(), known))
            await self._listen()
        finally:
            link, self._link = self._link, None
            self._answering.abandon()
            link.close()
            code = await end_of(process, _END)
        if not self._stopping.is_set():
            _say(logging.ERROR, "the plane's process has ended (%s): starting another", code)

    async def _listen(self) -> None:
        """Do what the process says, until it is gone or the application stops."""
        begun, up = boot_time(), False
        while not self._stopping.is_set():
            message: tuple[Any, ...] | None = ()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY):
                    message = await self._told.get()
            if message is None and not up:
                raise PlaneError(
                    "the plane's process ended before it listened; standard error has its own words"
                )
            if message is None or self._is_stuck(begun, up=up):
                return
            if message:
                up = self._take(message) or up
            while up and self._asked:
                self._answering.take(*self._asked.pop(0))
        await self._say_goodbye()

    def _ask_to_stop(self) -> None:
        self._stopping.set()
        self._told.put_nowait(())

    def _take(self, message: tuple[Any, ...]) -> bool:
        """Do what the process says; tell whether it says that it listens."""
        what, *rest = message
        if what == "log":
            level, name, text = rest
            home = name if name.startswith("petsage_grpc") else f"petsage_grpc.plane.{name}"
            with contextlib.suppress(Exception):  # a filter of the application's may raise
                logging.getLogger(home).log(level, "%s", text)
        elif what == "started":
            self._ledger.keep("started", message)
        elif what == "refused":
            kind: type[PetsageError] = getattr(errors, rest[0], PlaneError)
            raise kind(rest[1])
        elif what == "listening":
            if not self._addresses.done():
                self._addresses.set_result(rest[0])
                self._probe_addresses = rest[1]
            else:
                _say(logging.WARNING, "the plane's process listens again on %s", rest[0][0])
            return True
        else:
            self._asked.append(message)
        return False

    async def _say_goodbye(self) -> None:
        assert self._link is not None
        self._link.put("stop", ("stop", self._grace))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._grace + _END):
                while await self._told.get() is not None:
                    pass  # a run that is asked for now is not worth to be begun

    def _is_stuck(self, begun: float, *, up: bool) -> bool:
        """Say whether the process has been silent for too long, though this one has not."""
        now = boot_time()
        if now - self._looked > 3 * _LOOK_EVERY:
            self._awake_since = now  # this one was stopped itself, perhaps with the other
        self._looked = now
        if not up:
            limit = _RESTART if self._addresses.done() else _START
            if now - max(begun, self._awake_since) < limit:
                return False
            raise PlaneError(f"the plane's process did not listen within {format_duration(limit)}")
        if now - max(self._cells[PLANE][0], self._awake_since) < _SILENCE:
            return False
        _say(logging.ERROR, "the plane's process has been silent for %s", format_duration(_SILENCE))
        return True

    def _table_now(self) -> dict[str, Any]:
        """Make the settings for the process: with the ports that are bound already."""
        table = table_for(self._settings, self._table)
        if self._addresses.done():
            table["listen"] = list(self._addresses.result())
            table["probe_listen"] = list(self._probe_addresses)
        return table

    def _beat(self) -> None:
        """Say again and again that this process runs; on a thread that does nothing else."""
        own = HeartbeatCheck(max_silence=self._settings.max_silence)
        own.wanted = False  # the process looks for itself
        own.keep_in(self._cells[APPLICATION])
        pause = min(own.max_silence / _BEATS_IN_SILENCE, 1.0)
        while True:
            own.beat()
            if self._over.wait(pause):
                return

    def _put(self, key: object, message: tuple[Any, ...]) -> None:
        if self._link is not None:
            self._link.put(key, message)

    def _post(self, call: Callable[[], None]) -> None:
        assert self._loop is not None, "it has not been started"
        with contextlib.suppress(RuntimeError):  # it has been stopped meanwhile
            self._loop.call_soon_threadsafe(call)


def _say(level: int, text: str, *words: object) -> None:
    """Log a line; a filter of the application's that raises must not end the link."""
    with contextlib.suppress(Exception):
        _log.log(level, text, *words)

"""The plane's event loop: a name that is not found in time costs no answer, and no clean end."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any, TypeVarTuple

from petsage_grpc.plane.selector import StayingSelector, StayingSocket

__all__ = ["PlaneLoop"]


_Ts = TypeVarTuple("_Ts")


class PlaneLoop(asyncio.SelectorEventLoop):
    """An event loop that looks names up on threads which may be left behind.

    The loop's own threads are few, shared by all, and waited for at the end: a DNS server that is
    silent would hold up every other lookup, and then the stop. Here each name has one thread at
    most, which all who ask for it wait for, however often they give up and ask again.

    Args:
        switch_interval: seconds that busy threads may keep the interpreter while the loop has
            something to do; 0 leaves it to them.
    """

    def __init__(self, switch_interval: float = 0.0) -> None:
        super().__init__(StayingSelector(switch_interval))
        self._lookups: dict[tuple[Any, ...], asyncio.Future[Any]] = {}

    def add_reader(
        self,
        fd: Any,  # noqa: ANN401 -- as the standard library has it
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
    ) -> None:
        """Call a function whenever there is something to read."""
        if type(fd) is socket.socket:  # grpc's, by which its thread wakes the loop for each event
            fd.__class__ = StayingSocket
        super().add_reader(fd, callback, *args)

    async def getaddrinfo(
        self,
        host: Any,  # noqa: ANN401 -- as the standard library has it
        port: Any,  # noqa: ANN401 -- likewise
        **hints: int,
    ) -> Any:  # noqa: ANN401 -- likewise
        """Find the addresses of a name, as `socket.getaddrinfo` does."""
        with contextlib.suppress(OSError, UnicodeError):  # an address asks nobody
            flags = hints.get("flags", 0) | socket.AI_NUMERICHOST
            return socket.getaddrinfo(host, port, **{**hints, "flags": flags})
        key = (host, port, *sorted(hints.items()))
        if key not in self._lookups:
            self._lookups[key] = self._begin(key, host, port, hints)
        return await asyncio.shield(self._lookups[key])

    def _begin(
        self, key: tuple[Any, ...], host: object, port: object, hints: dict[str, Any]
    ) -> "asyncio.Future[Any]":
        answer = self.create_future()

        def end(found: Any, error: BaseException | None) -> None:  # noqa: ANN401 -- what getaddrinfo returns
            del self._lookups[key]
            if error is None:
                answer.set_result(found)
            else:
                answer.set_exception(error)
                answer.exception()  # who asked may have given up

        def look_up() -> None:
            found, error = None, None
            try:
                found = socket.getaddrinfo(host, port, **hints)  # type: ignore[arg-type]
            except (OSError, UnicodeError) as raised:
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop may be closed by now
                self.call_soon_threadsafe(end, found, error)

        threading.Thread(target=look_up, name=f"petsage lookup of {host}", daemon=True).start()
        return answer

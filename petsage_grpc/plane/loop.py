"""The plane's event loop: a name that is not found in time costs no answer, and no clean end."""

import asyncio
import socket
from typing import Any

from petsage_grpc.checks._thread import run_blocking

__all__ = ["PlaneLoop"]


class PlaneLoop(asyncio.SelectorEventLoop):
    """An event loop that looks names up on threads which may be left behind.

    The loop's own threads are few, shared by all, and waited for at the end: a DNS server that is
    silent would hold up every other lookup, and then the stop.
    """

    async def getaddrinfo(self, host: Any, port: Any, **hints: int) -> Any:  # noqa: ANN401 -- as the standard library has it
        """Find the addresses of a name, as `socket.getaddrinfo` does."""
        found: list[Any] = []

        def look_up() -> None:
            found.extend(socket.getaddrinfo(host, port, **hints))

        await run_blocking(None, look_up, name=f"petsage lookup of {host}")
        return found

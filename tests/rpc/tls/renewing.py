"""A port whose certificate is another all the time while clients connect; a process of its own."""

import asyncio
import contextlib
import itertools
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc.aio

from petsage_grpc.rpc.tls import Certificates
from tests.certificates import Authority, Secret, der, shown
from tests.rpc.tls.conftest import settings

_KNOCKS = 3000
_KNOCKERS = 4


def _knock(address: tuple[str, int]) -> None:
    with contextlib.suppress(TimeoutError):  # then more wait than the system has a place for
        for _ in range(_KNOCKS):
            socket.create_connection(address, 2).close()


async def main(folder: Path) -> None:
    """Serve until all have knocked; then the port has to show what is new, as before."""
    authority = Authority()
    pairs = [authority.pair(days=days) for days in (40, 50)]
    made = [
        Certificates(settings(Secret(folder / f"{number}", pair)))
        for number, pair in enumerate(pairs)
    ]
    certificates, contents = made[0], [each._in_use for each in made]
    held = itertools.cycle(contents)
    server = grpc.aio.server()
    port = server.add_secure_port("127.0.0.1:0", certificates.credentials())
    await server.start()
    with ThreadPoolExecutor(_KNOCKERS) as pool:
        knocking = [pool.submit(_knock, ("127.0.0.1", port)) for _ in range(_KNOCKERS)]
        while not all(one.done() for one in knocking):
            # as if the files had changed: to read them takes longer
            certificates._in_use = next(held)
            await asyncio.sleep(0.0001)
        for one in knocking:
            one.result()
    for pair, content in zip(pairs, contents, strict=True):
        certificates._in_use = content
        assert await asyncio.to_thread(shown, f"127.0.0.1:{port}") == der(pair)
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

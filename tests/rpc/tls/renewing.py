"""A port whose certificate is another all the time while clients connect; a process of its own."""

import asyncio
import itertools
import socket
import sys
import threading
from pathlib import Path

import grpc.aio

from petsage_grpc.rpc.tls import Certificates
from tests.certificates import Authority, Secret
from tests.rpc.tls.conftest import settings

_KNOCKS = 3000
_KNOCKERS = 4


def _knock(address: tuple[str, int]) -> None:
    for _ in range(_KNOCKS):
        socket.create_connection(address, 20).close()


async def main(folder: Path) -> None:
    """Serve until all have knocked."""
    authority = Authority()
    made = [
        Certificates(settings(Secret(folder / f"{days}", authority.pair(days=days))))
        for days in (40, 50)
    ]
    certificates, held = made[0], itertools.cycle([each._in_use for each in made])
    server = grpc.aio.server()
    port = server.add_secure_port("127.0.0.1:0", certificates.credentials())
    await server.start()
    knockers = [
        threading.Thread(target=_knock, args=(("127.0.0.1", port),)) for _ in range(_KNOCKERS)
    ]
    for knocker in knockers:
        knocker.start()
    while any(knocker.is_alive() for knocker in knockers):
        certificates._in_use = next(held)  # as if the files had changed: to read them takes longer
        await asyncio.sleep(0.0001)
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

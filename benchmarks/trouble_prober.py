"""Asks for the health of an application 100 times a second, and watches; a process of its own.

It says that it is ready once all is SERVING, and asks until it reads "end"; then it prints what it
saw. Each probe is sent when it is due, however many have no answer yet. At "call" it begins to call
the application as well, so that these calls are always waiting there.
"""

import asyncio
import contextlib
import json
import os
import sys
import threading
import time
from typing import Final

import grpc.aio
from grpc_health.v1.health_pb2 import HealthCheckRequest
from prober import Prober, status

_RATE: Final = 100
_DEADLINE: Final = 1.0
_OPTIONS: Final = (("grpc.use_local_subchannel_pool", 1),)
_WATCH: Final = "/grpc.health.v1.Health/Watch"
_WORK: Final = "/trouble.Work/Block"

_sights: Final[dict[str, list[tuple[float, str]]]] = {"liveness": [], "readiness": []}
"""When each watched name turned, and to what; at last how the watch ended."""


async def main(address: str, work: str, callers: int) -> None:
    """Probe and watch one address, and have so many callers call the other one."""
    lines = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(lines)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    async with (
        grpc.aio.insecure_channel(address, _OPTIONS) as watched,
        grpc.aio.insecure_channel(work, _OPTIONS) as called,
    ):
        serving = {name: asyncio.Event() for name in _sights}
        tasks = [asyncio.create_task(_watch(watched, *item)) for item in serving.items()]
        for served in serving.values():
            await served.wait()
        prober, over = Prober(address, _RATE, _DEADLINE), threading.Event()
        probing = asyncio.create_task(asyncio.to_thread(prober.run, over))
        print("ready", flush=True)
        while await lines.readline() == b"call\n":
            tasks += [asyncio.create_task(_call(called)) for _ in range(callers)]
        over.set()
        await probing
        seen = {"probes": prober.probes, "sights": _sights, "late": prober.late}
        print(json.dumps(seen), flush=True)
        for task in tasks:
            task.cancel()


async def _watch(channel: grpc.aio.Channel, name: str, served: asyncio.Event) -> None:
    watch: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(_WATCH)
    try:
        async for raw in watch(HealthCheckRequest(service=name).SerializeToString()):
            _sights[name].append((time.monotonic(), status(raw)))
            if _sights[name][-1][1] == "SERVING":
                served.set()
        end = "OK"
    except grpc.aio.AioRpcError as error:
        end = error.code().name
    _sights[name].append((time.monotonic(), end))


async def _call(channel: grpc.aio.Channel) -> None:
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_WORK)
    while True:
        await call(b"")


if __name__ == "__main__":
    with contextlib.suppress(AttributeError, PermissionError):
        # What it waits for a processor itself is not the time of an answer.
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))

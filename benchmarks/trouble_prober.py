"""Asks for the health of an application 100 times a second, and watches; a process of its own.

It says that it is ready once all is SERVING, and asks until it reads "end"; then it prints what it
saw. Each probe is sent when it is due, however many have no answer yet. At "call" it begins to call
the application as well, so that these calls are always waiting there.
"""

import asyncio
import contextlib
import itertools
import json
import os
import sys
import time
from typing import Final

import grpc.aio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

_RATE: Final = 100
_DEADLINE: Final = 1.0
_OPTIONS: Final = (("grpc.use_local_subchannel_pool", 1),)
_CHECK: Final = "/grpc.health.v1.Health/Check"
_WATCH: Final = "/grpc.health.v1.Health/Watch"
_WORK: Final = "/trouble.Work/Block"

_probes: Final[list[tuple[float, float, str]]] = []
"""When each was sent, how many seconds it took, and what was said."""
_sights: Final[dict[str, list[tuple[float, str]]]] = {"liveness": [], "readiness": []}
"""When each watched name turned, and to what; at last how the watch ended."""
_late: Final[list[float]] = []
"""How many seconds after it was due each probe was sent."""


async def main(address: str, work: str, callers: int) -> None:
    """Probe and watch one address, and have so many callers call the other one."""
    lines = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(lines)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    async with (
        grpc.aio.insecure_channel(address, _OPTIONS) as probed,
        grpc.aio.insecure_channel(address, _OPTIONS) as watched,
        grpc.aio.insecure_channel(work, _OPTIONS) as called,
    ):
        serving = {name: asyncio.Event() for name in _sights}
        tasks = [asyncio.create_task(_watch(watched, *item)) for item in serving.items()]
        for served in serving.values():
            await served.wait()
        over = asyncio.Event()
        probing = asyncio.create_task(_probe_all(probed, over))
        print("ready", flush=True)
        while await lines.readline() == b"call\n":
            tasks += [asyncio.create_task(_call(called)) for _ in range(callers)]
        over.set()
        await probing
        print(json.dumps({"probes": _probes, "sights": _sights, "late": _late}), flush=True)
        for task in tasks:
            task.cancel()


async def _probe_all(channel: grpc.aio.Channel, over: asyncio.Event) -> None:
    check: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_CHECK)
    request = HealthCheckRequest().SerializeToString()

    async def probe() -> None:
        begun = time.monotonic()
        try:
            said = _status(await check(request, timeout=_DEADLINE))
        except grpc.aio.AioRpcError as error:
            said = error.code().name
        _probes.append((begun, time.monotonic() - begun, said))

    async with asyncio.TaskGroup() as under_way:
        begun = time.monotonic()
        for number in itertools.count():
            due = begun + number / _RATE
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if over.is_set():
                break
            _late.append(time.monotonic() - due)
            under_way.create_task(probe())


async def _watch(channel: grpc.aio.Channel, name: str, served: asyncio.Event) -> None:
    watch: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(_WATCH)
    try:
        async for raw in watch(HealthCheckRequest(service=name).SerializeToString()):
            _sights[name].append((time.monotonic(), _status(raw)))
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


def _status(raw: bytes) -> str:
    return HealthCheckResponse.ServingStatus.Name(HealthCheckResponse.FromString(raw).status)


if __name__ == "__main__":
    with contextlib.suppress(AttributeError, PermissionError):
        # What it waits for a processor itself is not the time of an answer.
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))

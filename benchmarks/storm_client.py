"""The callers of the storm: SmokeTest with a max_age of 0, again and again; a process of its own.

It says that it is ready, and begins when it reads a line. Then it prints when the first call began
and when the last one ended, in seconds of the monotonic clock, and how many were answered.
"""

import asyncio
import os
import sys
import time

import grpc.aio
from google.protobuf.duration_pb2 import Duration

from petsage_grpc.rpc.stubs import SmokeTestRequest, SmokeTestServiceStub

_AT_ONCE = 16
"""Calls under way at most: one that has been late must not be followed by a flood."""


async def main() -> None:
    """Send so many calls, evenly over so many seconds, as the command line says."""
    os.nice(10)  # as if on other machines: the processor is for those who are measured
    address, calls, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    answered, free = 0, asyncio.Semaphore(_AT_ONCE)
    async with grpc.aio.insecure_channel(address) as channel:
        await channel.channel_ready()
        stub = SmokeTestServiceStub(channel)
        request = SmokeTestRequest(max_age=Duration())

        async def ask() -> None:
            nonlocal answered
            await stub.SmokeTest(request, timeout=20)
            answered += 1
            free.release()

        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        begun = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(calls):
                due = begun + number / calls * seconds
                if (early := due - time.monotonic()) > 0:
                    await asyncio.sleep(early)
                await free.acquire()
                group.create_task(ask())
        sys.stdout.write(f"{begun} {time.monotonic()} {answered}\n")


if __name__ == "__main__":
    asyncio.run(main())

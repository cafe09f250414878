"""Kills the application, and then the plane's process, at random moments, and looks what is left.

Of the application: no orphan, no taken port, no SERVING after its death. Of the plane's process:
it is back in time, knows what was said, and no watcher that reconnects sees a SERVING that is not
true.
"""

import argparse
import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.faults import free_port
from tests.plane.planes import can_bind, planes_of

HOST = "127.0.0.1"
UNNOTICED = 0.05
"""Seconds after the death of the application in which a call may still be answered as before it."""
GONE = 1.0
"""Seconds after the death of the application in which all of it has to be gone."""
BACK = 2.0
"""Seconds after the death of the plane's process in which it has to answer again."""
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

APPLICATION = """
import sys, threading
from petsage_grpc import HealthPlane

checks = {"broken": {"kind": "disk", "directory": "/nowhere", "gates": []}}
plane = HealthPlane.from_settings(
    listen=sys.argv[1], isolation="process", checks=checks, groups={"broken": ["broken"]}
)
beat = plane.heartbeat("worker", max_silence=1.0)
plane.set("on", serving=True)
plane.set("off", serving=False, reason="asked for")
with plane:
    print("started", flush=True)
    while True:
        beat()
        threading.Event().wait(0.05)
"""
WANTED = {
    "": SERVING,
    "liveness": SERVING,
    "on": SERVING,
    "off": NOT_SERVING,
    "broken": NOT_SERVING,
}


@contextlib.contextmanager
def application(port: int) -> "Iterator[subprocess.Popen[bytes]]":
    """Run an application with a plane in a process of its own."""
    command = [sys.executable, "-c", APPLICATION, f"{HOST}:{port}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


class Observer:
    """Asks for every name again and again, and keeps each answer with the time of its call."""

    def __init__(self, port: int) -> None:
        options = [("grpc.initial_reconnect_backoff_ms", 20), ("grpc.max_reconnect_backoff_ms", 50),
                   ("grpc.min_reconnect_backoff_ms", 20)]  # fmt: skip
        self._channel = grpc.aio.insecure_channel(f"{HOST}:{port}", options=options)
        self._health = health_pb2_grpc.HealthStub(self._channel)  # type: ignore[no-untyped-call]
        self.answers: list[tuple[float, str, int]] = []

    async def ask(self) -> dict[str, int]:
        """Ask for every name once; those that are not answered are missing."""
        told = await asyncio.gather(*map(self._check, WANTED))
        return {name: status for name, status in zip(WANTED, told, strict=True) if status}

    async def _check(self, name: str) -> int:
        request, begun = health_pb2.HealthCheckRequest(service=name), time.monotonic()
        try:
            answer = await self._health.Check(request, timeout=1.0)
        except grpc.aio.AioRpcError:
            return 0
        self.answers.append((begun, name, answer.status))
        return int(answer.status)

    async def ask_on(self) -> None:
        """Ask for every name again and again, for ever."""
        while True:
            await self.ask()
            await asyncio.sleep(0.01)

    async def follow(self, name: str) -> None:
        """Watch a name, and again after each end, for ever."""
        request = health_pb2.HealthCheckRequest(service=name)
        while True:
            begun = time.monotonic()
            with contextlib.suppress(grpc.aio.AioRpcError):
                async for answer in self._health.Watch(request):
                    self.answers.append((begun, name, answer.status))
                    begun = time.monotonic()
            await asyncio.sleep(0.01)

    async def become_right(self, patience: float) -> float:
        """Wait until every answer is right; return how many seconds that took."""
        begun = time.monotonic()
        while await self.ask() != WANTED:
            if time.monotonic() - begun > patience:
                raise SystemExit(f"FAILED: not right after {patience} s: {await self.ask()}")
            await asyncio.sleep(0.005)
        return time.monotonic() - begun


@contextlib.asynccontextmanager
async def observing(port: int) -> AsyncIterator[Observer]:
    """Observe for the block, with calls for each name and watchers on each."""
    observer = Observer(port)
    followers = [asyncio.create_task(observer.follow(name)) for name in WANTED]
    followers.append(asyncio.create_task(observer.ask_on()))
    try:
        yield observer
    finally:
        for follower in followers:
            follower.cancel()
        await asyncio.wait(followers)
        await observer._channel.close()


async def kill_applications(times: int) -> None:
    """Kill an application each time, also while it starts."""
    late, slowest, answers = 0.0, 0.0, 0
    for number in range(times):
        port = free_port()
        async with observing(port) as observer:
            with application(port) as process:
                await asyncio.sleep(random.uniform(0.0, 2.0))
                process.kill()
                killed = time.monotonic()
                slowest = max(slowest, await _wait_until_gone(process.pid, port, killed, number))
            answers += len(observer.answers)
            stale = [at - killed for at, _, status in observer.answers if status == SERVING]
            late = max([late, *stale])
            if late > UNNOTICED:
                raise SystemExit(
                    f"FAILED: kill {number}: SERVING {late * 1000:.0f} ms after it died"
                )
    if not answers:
        raise SystemExit("FAILED: it never answered, so nothing has been seen")
    print(
        f"application killed {times} times: gone with its port in {slowest:.2f} s at most (limit"
        f" {GONE:g} s), the last call that was answered SERVING came {late * 1000:.1f} ms after"
        f" (limit {UNNOTICED * 1000:g} ms), {answers} answers"
    )


async def _wait_until_gone(application: int, port: int, killed: float, number: int) -> float:
    """Wait until nothing is left of a killed application; return how many seconds that took."""
    while await asyncio.to_thread(planes_of, application) or not can_bind(f"{HOST}:{port}"):
        if time.monotonic() - killed > GONE:
            raise SystemExit(f"FAILED: kill {number}: {planes_of(application)} is left")
        await asyncio.sleep(0.005)
    return time.monotonic() - killed


async def kill_planes(times: int) -> None:
    """Kill the plane's process each time, also while it starts."""
    port = free_port()
    slowest = 0.0
    async with observing(port) as observer:
        with application(port) as process:
            await observer.become_right(10.0)
            for number in range(times):
                await asyncio.sleep(random.uniform(0.0, 0.5))
                children = planes_of(process.pid)
                if len(children) > 1:
                    raise SystemExit(
                        f"FAILED: kill {number}: {len(children)} processes: {children}"
                    )
                for child in children:
                    os.kill(child, signal.SIGKILL)
                slowest = max(slowest, await observer.become_right(BACK))
            wrong = {
                (n, s) for _, n, s in observer.answers if n in ("off", "broken") and s == SERVING
            }
            if wrong:
                raise SystemExit(f"FAILED: {wrong} was answered, and was never true")
            dead = [(n, s) for _, n, s in observer.answers if n == "liveness" and s == NOT_SERVING]
            if dead:
                raise SystemExit(
                    f"FAILED: liveness turned {len(dead)} times: it would restart the pod"
                )
    print(
        f"plane's process killed {times} times: all answers right again in {slowest:.2f} s at most"
        f" (limit {BACK:g} s), {len(observer.answers)} answers, none of them wrong"
    )


def main() -> None:
    """Do both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    seed = random.randrange(10**6) if arguments.seed is None else arguments.seed
    random.seed(seed)
    print(f"seed {seed}")
    asyncio.run(kill_applications(arguments.times))
    asyncio.run(kill_planes(arguments.times))


if __name__ == "__main__":
    main()

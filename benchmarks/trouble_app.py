"""An application that gets into trouble when told to; a process of its own.

It serves calls that block, and is asked for its health: on its own server, or by a plane. It says
where it serves, and then does what it reads, line by line.
"""

import asyncio
import ctypes
import logging
import sys
import threading
import time
import timeit
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse

_WORKERS: Final = 10
_BEAT: Final = 0.1
_BEATS: Final = 200_000
_NAMES: Final = ("liveness", "readiness")


def main(isolation: str, server: str, port: int, call: float, max_silence: float) -> None:
    """Serve, and get into trouble.

    Args:
        isolation: that of the plane; "reference" for the stock servicer on its own server.
        server: "sync" or "aio".
        port: where it is asked for its health.
        call: seconds for which each call blocks a thread, or the loop.
        max_silence: seconds; 0 for an application that does not beat.
    """
    logging.basicConfig(level=logging.INFO)  # as applications do, and the check of the log wants
    serve = _serve_sync if server == "sync" else _serve_aio
    if isolation == "reference":
        _say("starting")
        _obey(serve(f"127.0.0.1:{port}", call, with_health=True))
    else:
        address = serve("127.0.0.1:0", call, with_health=False)
        with _planned(isolation, port, max_silence) as beat:
            _obey(address, beat)


def _say(words: str) -> None:
    print(words, time.monotonic(), flush=True)


def _serve_sync(address: str, call: float, *, with_health: bool) -> str:
    def work(_: bytes, __: grpc.ServicerContext) -> bytes:
        time.sleep(call)
        return b""

    server = grpc.server(ThreadPoolExecutor(_WORKERS))
    if with_health:
        servicer = health.HealthServicer()  # type: ignore[no-untyped-call]
        for name in _NAMES:
            servicer.set(name, HealthCheckResponse.SERVING)  # type: ignore[no-untyped-call]
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
    server.add_generic_rpc_handlers([_handler(work)])
    port = server.add_insecure_port(address)
    server.start()
    _kept.append(server)
    return f"127.0.0.1:{port}"


_kept: Final[list[object]] = []
"""What would stop if nobody held it."""


def _serve_aio(address: str, call: float, *, with_health: bool) -> str:
    found: Future[str] = Future()

    async def work(_: bytes, __: object) -> bytes:
        time.sleep(call)  # noqa: ASYNC251 -- this is the trouble
        return b""

    async def live() -> None:
        server = grpc.aio.server()
        if with_health:
            servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]
            for name in _NAMES:
                await servicer.set(name, HealthCheckResponse.SERVING)
            health_pb2_grpc.add_HealthServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
        server.add_generic_rpc_handlers([_handler(work)])
        port = server.add_insecure_port(address)
        await server.start()
        found.set_result(f"127.0.0.1:{port}")
        await server.wait_for_termination()

    threading.Thread(target=lambda: asyncio.run(live()), daemon=True).start()
    return found.result()


def _handler(work: Any) -> "grpc.GenericRpcHandler":  # noqa: ANN401 -- async or not
    method: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(work)
    return grpc.method_handlers_generic_handler("trouble.Work", {"Block": method})


@contextmanager
def _planned(isolation: str, port: int, max_silence: float) -> Iterator[Any]:
    """Start a plane; give its heartbeat, which beats by itself if the application is to beat."""
    from petsage_grpc import HealthPlane  # noqa: PLC0415 -- the reference is to do without

    settings: dict[str, Any] = {"max_silence": max_silence} if max_silence else {}
    plane = HealthPlane.from_settings(
        isolation=isolation,  # type: ignore[arg-type]
        listen=f"127.0.0.1:{port}",
        **settings,
    )
    beat = plane.heartbeat("worker", gates=() if not max_silence else _NAMES, **settings)

    def beat_on() -> None:
        while True:
            beat()
            time.sleep(_BEAT)

    if max_silence:
        threading.Thread(target=beat_on, daemon=True).start()
    _say("starting")
    with plane:
        yield beat


def _obey(address: str, beat: Any = None) -> None:  # noqa: ANN401 -- no import for the reference
    _say(f"serving {address}")
    resting = threading.Event()
    for line in sys.stdin:
        match line.split():
            case ["busy", number]:
                for _ in range(int(number)):
                    threading.Thread(target=_be_busy, args=(resting,), daemon=True).start()
                _say("begun")
            case ["hold", seconds]:
                _say("begun")
                ctypes.PyDLL(None).usleep(int(float(seconds) * 1e6))  # it keeps the lock meanwhile
                _say("over")
            case ["beat"]:
                _say(f"{timeit.timeit(beat, number=_BEATS) / _BEATS * 1e9}")
            case ["rest"]:
                resting.set()


def _be_busy(resting: threading.Event) -> None:
    number = 1
    while not resting.is_set():
        for _ in range(1000):
            number = (number * 31 + 7) % 1_000_003


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]))

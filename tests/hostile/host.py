"""An application that sets a health name, in a process of its own, as it is told on standard input.

`host.py service|reference` answers each line with one of JSON: "set 1" and "set 0" change the name
"crowd", and "stop" ends it gracefully. The reference is the stock servicer, with the limit lifted
above which grpc cancels calls that wait.
"""

import asyncio
import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

NAME: Final = "crowd"
_GRACE: Final = 0.5
"""Seconds for calls under way when it stops."""
_MANY: Final = 1_000_000

Setter = Callable[[bool], object]


def _service(settings: "dict[str, Any]") -> tuple[str, Setter, Callable[[], object]]:
    from petsage_grpc import HealthPlane  # noqa: PLC0415 -- the other side has none of it

    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    plane = HealthPlane.from_settings(listen="127.0.0.1:0", **settings)
    plane.set(NAME, serving=True)
    plane.start()
    return plane.address, lambda good: plane.set(NAME, serving=good), lambda: plane.stop(_GRACE)


def _reference() -> tuple[str, Setter, Callable[[], object]]:
    import grpc.aio  # noqa: PLC0415 -- the other side imports it when it must
    from grpc_health.v1 import health, health_pb2_grpc  # noqa: PLC0415
    from grpc_health.v1.health_pb2 import HealthCheckResponse  # noqa: PLC0415

    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    options = [
        ("grpc.server.max_pending_requests", _MANY),
        ("grpc.server.max_pending_requests_hard_limit", _MANY),
    ]

    async def start() -> tuple[Any, Any, int]:
        server = grpc.aio.server(options=options)
        servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
        port = server.add_insecure_port("127.0.0.1:0")
        await servicer.set(NAME, HealthCheckResponse.SERVING)
        await server.start()
        return server, servicer, port

    server, servicer, port = asyncio.run_coroutine_threadsafe(start(), loop).result()

    def change(good: bool) -> None:
        status = HealthCheckResponse.SERVING if good else HealthCheckResponse.NOT_SERVING
        asyncio.run_coroutine_threadsafe(servicer.set(NAME, status), loop).result()

    async def stop() -> None:
        await servicer.enter_graceful_shutdown()
        await server.stop(_GRACE)

    return (
        f"127.0.0.1:{port}",
        change,
        lambda: asyncio.run_coroutine_threadsafe(stop(), loop).result(),
    )


def main() -> None:
    """Serve until told to stop."""
    settings = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
    address, change, stop = _service(settings) if sys.argv[1] == "service" else _reference()
    print(json.dumps({"address": address}), flush=True)
    for line in sys.stdin:
        word, _, value = line.strip().partition(" ")
        begun = time.monotonic()
        if word == "set":
            change(value == "1")
        else:
            stop()
        print(json.dumps({"at": begun, "took": time.monotonic() - begun}), flush=True)


if __name__ == "__main__":
    main()

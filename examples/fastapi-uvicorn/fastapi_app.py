"""A FastAPI application under uvicorn with a health plane beside it, started in its lifespan."""

import argparse
import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import AsyncIterator
from types import FrameType

import uvicorn
from fastapi import FastAPI

from petsage_grpc import HealthPlane

log = logging.getLogger("example")


def drain_before_stop(plane: HealthPlane) -> None:
    """On SIGTERM drain first: uvicorn itself would take no connection from that moment on."""
    loop, stop = asyncio.get_running_loop(), signal.getsignal(signal.SIGTERM)
    assert callable(stop), "uvicorn has set its handler before the lifespan begins"

    def drain(number: int, frame: FrameType | None) -> None:
        plane.drain()  # those who send requests turn to others, and until then they are answered
        signal.signal(signal.SIGTERM, stop)  # a second signal cuts it short
        later = plane.settings.drain_delay
        loop.call_soon_threadsafe(loop.call_later, later, stop, number, frame)

    signal.signal(signal.SIGTERM, drain)


def make_app(options: argparse.Namespace) -> FastAPI:
    """Make the application."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        plane = HealthPlane.from_settings(listen=options.health, isolation=options.isolation)
        plane.loop_heartbeat(max_silence=options.max_silence)
        with plane:
            drain_before_stop(plane)
            log.info("health: listening on %s", plane.address)
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/purr")
    async def purr(name: str = "Tom") -> str:
        return f"{name} purrs."

    @app.get("/nap")
    async def nap(seconds: float) -> str:
        time.sleep(seconds)  # noqa: ASYNC251 -- the mistake that the plane is there to tell of
        return f"{seconds} s asleep."

    return app


def main() -> None:
    """Serve until SIGTERM, drain, and stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="where the cats are")
    parser.add_argument("--health", default="127.0.0.1:50051", help="where the plane listens")
    parser.add_argument("--isolation", default="thread", choices=["thread", "process"])
    parser.add_argument("--max-silence", type=float, default=10.0, help="of the loop, in seconds")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    uvicorn.run(make_app(options), port=options.port)


if __name__ == "__main__":
    main()

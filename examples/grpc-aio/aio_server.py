"""An asynchronous gRPC server with a health plane beside it: a blocked loop delays no answer."""

import argparse
import asyncio
import contextlib
import logging
import signal
import time

import grpc.aio
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import StringValue

from petsage_grpc import HealthPlane

log = logging.getLogger("example")


async def purr(name: StringValue, _: object) -> StringValue:
    """Answer at once."""
    return StringValue(value=f"{name.value} purrs.")


async def nap(length: Duration, _: object) -> Duration:
    """Block the whole loop for so long: the mistake that the plane is there to tell of."""
    time.sleep(length.ToTimedelta().total_seconds())  # noqa: ASYNC251 -- that is the mistake
    return length


CATS = grpc.method_handlers_generic_handler(
    "petsage.examples.v1.CatService",
    {
        "Purr": grpc.unary_unary_rpc_method_handler(
            purr, StringValue.FromString, StringValue.SerializeToString
        ),
        "Nap": grpc.unary_unary_rpc_method_handler(
            nap, Duration.FromString, Duration.SerializeToString
        ),
    },
)


async def serve(options: argparse.Namespace) -> None:
    """Serve until SIGTERM, drain, and stop."""
    told: asyncio.Queue[int] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.put_nowait, number)

    server = grpc.aio.server(handlers=[CATS])
    port = server.add_insecure_port(options.listen)
    plane = HealthPlane.from_settings(listen=options.health, isolation=options.isolation)
    plane.loop_heartbeat(max_silence=options.max_silence)
    with plane:
        await server.start()
        log.info("health: listening on %s", plane.address)
        log.info("cats: listening on port %s", port)
        await told.get()
        plane.drain()  # those who send calls turn to others, and until then they are answered
        with contextlib.suppress(TimeoutError):  # a second signal cuts it short
            await asyncio.wait_for(told.get(), plane.settings.drain_delay)
        await server.stop(plane.settings.grace - plane.settings.drain_delay)


def main() -> None:
    """Take the arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:50052", help="where the cats are")
    parser.add_argument("--health", default="127.0.0.1:50051", help="where the plane listens")
    parser.add_argument("--isolation", default="thread", choices=["thread", "process"])
    parser.add_argument("--max-silence", type=float, default=10.0, help="of the loop, in seconds")
    logging.basicConfig(level=logging.INFO)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()

"""A synchronous gRPC server with a health plane beside it: a full pool delays no health answer."""

import argparse
import logging
import select
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import StringValue

from petsage_grpc import HealthPlane

log = logging.getLogger("example")

WORKERS = 4


def purr(name: StringValue, _: grpc.ServicerContext) -> StringValue:
    """Answer at once."""
    return StringValue(value=f"{name.value} purrs.")


def nap(length: Duration, _: grpc.ServicerContext) -> Duration:
    """Hold a thread of the pool for so long, as a slow database does."""
    time.sleep(length.ToTimedelta().total_seconds())
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


def main() -> None:
    """Serve until SIGTERM, drain, and stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:50052", help="where the cats are")
    parser.add_argument("--health", default="127.0.0.1:50051", help="where the plane listens")
    parser.add_argument("--isolation", default="thread", choices=["thread", "process"])
    parser.add_argument("--max-silence", type=float, default=10.0, help="of the pool, in seconds")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)

    told, telling = socket.socketpair()  # who waits on a queue or an event may miss a signal
    telling.settimeout(0)
    signal.set_wakeup_fd(telling.fileno())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)

    pool = ThreadPoolExecutor(WORKERS)
    server = grpc.server(pool, handlers=[CATS])
    port = server.add_insecure_port(options.listen)
    plane = HealthPlane.from_settings(listen=options.health, isolation=options.isolation)
    plane.pool_heartbeat("pool", pool, max_silence=options.max_silence)
    with plane:
        server.start()
        log.info("health: listening on %s", plane.address)
        log.info("cats: listening on port %s", port)
        told.recv(1)
        plane.drain()  # those who send calls turn to others, and until then they are answered
        select.select([told], [], [], plane.settings.drain_delay)  # a second signal cuts it short
        server.stop(plane.settings.grace - plane.settings.drain_delay).wait()


if __name__ == "__main__":
    main()

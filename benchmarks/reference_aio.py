"""The stock aio servicer on the smallest server: what our figures are held against."""

import asyncio
import sys

import grpc.aio
from grpc_health.v1 import health, health_pb2_grpc


async def main() -> None:
    """Serve on the port that the command line names."""
    server = grpc.aio.server()
    servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())

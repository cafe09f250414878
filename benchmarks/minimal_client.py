"""The health client that anybody would write with grpcio: what `probe` is held against."""

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

with grpc.insecure_channel(sys.argv[1]) as channel:
    stub = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
    response = stub.Check(health_pb2.HealthCheckRequest(), timeout=1)
sys.exit(response.status != health_pb2.HealthCheckResponse.SERVING)

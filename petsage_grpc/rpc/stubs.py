"""The messages and the stub of SmokeTest for callers in Python: the generated code may move."""

from petsage_grpc._gen.petsage.v1.smoke_test_pb2 import (
    STATUS_DEGRADED,
    STATUS_FAILING,
    STATUS_OK,
    CheckResult,
    SmokeTestRequest,
    SmokeTestResponse,
    Status,
)
from petsage_grpc._gen.petsage.v1.smoke_test_pb2_grpc import SmokeTestServiceStub

__all__ = [
    "STATUS_DEGRADED", "STATUS_FAILING", "STATUS_OK",
    "CheckResult", "SmokeTestRequest", "SmokeTestResponse", "SmokeTestServiceStub", "Status",
]  # fmt: skip

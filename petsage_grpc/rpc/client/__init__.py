"""A small synchronous gRPC client, because importing grpc costs more than a whole probe."""

from petsage_grpc.rpc.client.address import Address, parse_address
from petsage_grpc.rpc.client.connection import Connection
from petsage_grpc.rpc.client.errors import (
    AddressError,
    ClientError,
    ConnectError,
    MetadataError,
    RpcError,
    TlsOptionError,
)
from petsage_grpc.rpc.client.tls import Tls
from petsage_grpc.rpc.client.transport import MAX_TIMEOUT
from petsage_grpc.rpc.client.unary import MAX_MESSAGE, check_metadata, check_value

__all__ = [
    "MAX_MESSAGE", "MAX_TIMEOUT", "Address", "AddressError", "ClientError", "ConnectError",
    "Connection", "MetadataError", "RpcError", "Tls", "TlsOptionError", "check_metadata",
    "check_value", "parse_address",
]  # fmt: skip

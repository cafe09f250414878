"""petsage_grpc: the health service of a Python gRPC backend."""

__all__ = ["__version__"]

__version__ = "0.1.0"

"""How long Check takes for one who asks now and then, as probers do: what the p99 is made of."""

import statistics
import time
from collections.abc import Sequence
from typing import Final

from report import BenchError

from petsage_grpc.rpc.client import ClientError, Connection, parse_address
from petsage_grpc.rpc.client.health_codec import CHECK, decode_status, encode_request, status_name

__all__ = ["p99", "time_checks"]

_PATIENCE: Final = 10.0
_PERIOD: Final = 0.005


def time_checks(address: str, seconds: float, service: str = "liveness") -> list[float]:
    """Ask every 5 ms for so long; return how many milliseconds each answer took."""
    request, taken = encode_request(service), []
    try:
        with Connection.connect(parse_address(address), _PATIENCE, None) as connection:
            end = time.monotonic() + seconds
            while (begun := time.monotonic()) < end:
                raw = connection.call(CHECK, request, _PATIENCE)
                taken.append((time.monotonic() - begun) * 1e3)
                if (status := status_name(decode_status(raw))) != "SERVING":
                    raise BenchError(f"{service!r} is {status}")
                time.sleep(max(0.0, begun + _PERIOD - time.monotonic()))
    except ClientError as error:
        raise BenchError(f"Check fails: {error}") from None
    return taken


def p99(samples: Sequence[float]) -> float:
    """Return what 99 of 100 samples do not exceed."""
    return statistics.quantiles(samples, n=100, method="inclusive")[-1]

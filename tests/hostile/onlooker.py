"""Asks for Check again and again from another address than the attacker's, as probers do."""

import statistics
import threading
import time
from collections.abc import Sequence
from typing import Final, Self

from petsage_grpc.rpc.client import ClientError, Connection, parse_address
from petsage_grpc.rpc.client.health_codec import CHECK, decode_status, encode_request, status_name

__all__ = ["DEADLINE", "Onlooker"]

DEADLINE: Final = 1.0
"""Seconds in which an answer must be there, with the connection: what a kubelet gives it."""


class Onlooker:
    """Asks on a connection that is kept, and by turns on a new one, as a kubelet does.

    Inside of its block it asks. What is not SERVING within the deadline is missed.

    Args:
        address: whom it asks.
        names: health names, asked for in turn.
        period: seconds from one question to the next, on each of the two.
    """

    def __init__(self, address: str, names: Sequence[str], period: float = 0.1) -> None:
        self._period = period
        self._address = parse_address(address)
        self._names = names
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(keep,)) for keep in (True, False)]
        self.took: list[float] = []
        """How many milliseconds each answer took."""
        self.missed: list[str] = []
        """What came instead of an answer in time."""

    @property
    def asked(self) -> int:
        return len(self.took) + len(self.missed)

    @property
    def p99(self) -> float:
        """What 99 of 100 answers did not exceed, in milliseconds."""
        if len(self.took) < 2:
            return float("nan")
        return statistics.quantiles(self.took, n=100, method="inclusive")[-1]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, keep: bool) -> None:
        connection, number = None, 0
        due = time.monotonic() + (0.0 if keep else self._period / 2)
        while not self._over.wait(max(0.0, due - time.monotonic())):
            name = self._names[number % len(self._names)]
            number, begun = number + 1, time.monotonic()
            try:
                if connection is None:
                    connection = Connection.connect(self._address, DEADLINE)
                left = DEADLINE - (time.monotonic() - begun)
                raw = connection.call(CHECK, encode_request(name), max(0.001, left))
                self._note(name, status_name(decode_status(raw)), begun)
            except ClientError as error:
                self.missed.append(f"{name!r}: {error}")
                if connection is not None:
                    connection.close()
                connection = None
            if connection is not None and not keep:
                connection.close()
                connection = None
            due = max(due + self._period, time.monotonic())
        if connection is not None:
            connection.close()

    def _note(self, name: str, status: str, begun: float) -> None:
        took = time.monotonic() - begun
        if status == "SERVING":
            self.took.append(took * 1e3)
        else:
            self.missed.append(f"{name!r} is {status} after {took:.3f} s")

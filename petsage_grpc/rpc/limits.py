"""The limits of a server: those that grpc itself keeps, and how often each of ours was reached."""

import contextlib
import logging
import resource
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from petsage_grpc.settings import Settings

__all__ = ["Limit", "Refusals", "raise_file_limit", "server_options"]

_KEEPALIVE_TIME_MS: Final = 60_000
_KEEPALIVE_TIMEOUT_MS: Final = 20_000
_MOST: Final = 2**31 - 1
"""What grpc can keep in an option."""
_QUIET: Final = 60.0
"""Seconds after a line about a limit in which there is no other about the same."""

_OTHERS: Final = 512
"""Descriptors that a process has besides its connections."""

_log = logging.getLogger("petsage_grpc.limits")


def server_options(settings: Settings, max_message_size: int) -> list[tuple[str, int]]:
    """Make the options of a grpc.aio server.

    Args:
        settings: what is wanted.
        max_message_size: bytes in a request.
    """
    header_size = min(settings.max_header_size, _MOST)
    pending = min(settings.max_pending_calls, _MOST)
    handshake = _milliseconds(settings.handshake_timeout)
    return [
        ("grpc.max_receive_message_length", max_message_size),
        # Where the two differ, chance decides about the headers whose size is between them.
        ("grpc.max_metadata_size", header_size),
        ("grpc.absolute_max_metadata_size", header_size),
        ("grpc.max_concurrent_streams", min(settings.max_concurrent_streams, _MOST)),
        # grpc ends the process when it is not less than the most that there can be.
        ("grpc.max_allowed_incoming_connections", min(settings.max_connections, _MOST - 1)),
        # Without these, calls beyond a thousand that arrive at once are cancelled.
        ("grpc.server.max_pending_requests", pending),
        ("grpc.server.max_pending_requests_hard_limit", pending),
        ("grpc.max_connection_idle_ms", _milliseconds(settings.max_connection_idle)),
        ("grpc.server_handshake_timeout_ms", handshake),
        # The size of headers holds from the moment that the client has confirmed it.
        ("grpc.http2.settings_timeout", handshake),
        # Pings that come sooner than this are bad; without the second, idle ones in two hours too.
        (
            "grpc.http2.min_ping_interval_without_data_ms",
            _milliseconds(settings.min_ping_interval),
        ),
        ("grpc.keepalive_permit_without_calls", 1),
        # A peer that is gone without a word is noticed, and its watchers with it.
        ("grpc.keepalive_time_ms", _KEEPALIVE_TIME_MS),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
        # What the line above says holds for a network that is gone, and this for a peer that hangs.
        ("grpc.http2.ping_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
    ]


def _milliseconds(seconds: float) -> int:
    return max(1, int(min(seconds * 1000, _MOST)))


class Limit(NamedTuple):
    """A setting that limits something, for the one who reaches it."""

    setting: str
    """Its name."""
    value: object
    """What it is set to."""

    def __str__(self) -> str:
        return f"{self.setting} = {self.value}"


class Refusals:
    """How often each limit was reached since the start, and a line a minute about each at most.

    Any thread may note one.

    Args:
        now: tells the time, in seconds that only grow.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._untold: Counter[str] = Counter()
        self._quiet_until: dict[str, float] = {}

    def counts(self) -> Mapping[str, int]:
        """Say how often each limit was reached, by the name of its setting."""
        with self._lock:
            return dict(self._counts)

    def note(
        self, limit: Limit, peer: str, what: str, *, did: str = "refused", number: int = 1
    ) -> None:
        """Note that a limit was reached.

        Args:
            limit: which one.
            peer: by whom.
            what: what it was of theirs, in the plural.
            did: what became of it.
            number: how many there were.
        """
        setting = limit.setting
        with self._lock:
            self._counts[setting] += number
            self._untold[setting] += number
            now = self._now()
            if now < self._quiet_until.get(setting, now):
                return
            self._quiet_until[setting] = now + _QUIET
            told = self._untold.pop(setting)
        _log.warning("%s %s %s, the last of %s: %s", did, f"{told:,}", what, peer, limit)


def raise_file_limit(max_connections: int) -> None:
    """Let this process have as many open files as the connections need, as far as it may.

    It warns when they do not fit: then more are not refused, but wait to be accepted.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max_connections + _OTHERS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        granted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError, OverflowError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
            soft = granted
        if soft < wanted:
            _log.warning(
                "max_connections = %d do not fit into %d open files: raise the limit"
                " (ulimit -n, LimitNOFILE), or set fewer",
                max_connections, soft,
            )  # fmt: skip

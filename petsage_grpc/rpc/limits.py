"""The limits of a server that grpc itself keeps, as the options that it takes."""

from typing import Final

from petsage_grpc.settings import Settings

__all__ = ["server_options"]

_KEEPALIVE_TIME_MS: Final = 60_000
_KEEPALIVE_TIMEOUT_MS: Final = 20_000


def server_options(settings: Settings, max_message_size: int) -> list[tuple[str, int]]:
    """Make the options of a grpc.aio server.

    Args:
        settings: what is wanted.
        max_message_size: bytes in a request.
    """
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", max_message_size),
        # Without these, calls beyond a thousand that arrive at once are cancelled.
        ("grpc.server.max_pending_requests", settings.max_pending_calls),
        ("grpc.server.max_pending_requests_hard_limit", settings.max_pending_calls),
        # A peer that is gone without a word is noticed, and its watchers with it.
        ("grpc.keepalive_time_ms", _KEEPALIVE_TIME_MS),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
    ]

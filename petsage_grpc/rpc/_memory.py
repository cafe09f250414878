"""Gives memory back to the system, because the C library would keep that of a crowd for ever."""

import ctypes

__all__ = ["trim_memory"]


def trim_memory() -> None:
    """Give freed memory back, where the C library is one that can: glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)

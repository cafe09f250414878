"""Gives memory back to the system, because the C library would keep that of a crowd for ever."""

import ctypes
import gc

__all__ = ["trim_memory"]


def trim_memory(*, collect: bool) -> None:
    """Give freed memory back, where the C library is one that can: glibc.

    Args:
        collect: whether to look for garbage before; that holds the interpreter for a while.
    """
    if collect:
        gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)

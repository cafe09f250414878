"""Keeps out of the log what callers could make gRPC write: headers, paths, and their leaving."""

import logging
import time
from typing import Final

__all__ = ["keep_callers_out_of_the_log"]

_LOGGER: Final = "grpc._cython.cygrpc"
_SHOWS_HEADER: Final = "Invalid encoding on "
"""How its lines begin that show one: for each header that is not UTF-8, with a traceback."""
_LEFT: Final = "ExecuteBatchError raised in core by servicer method "
"""How its lines begin that tell, with a traceback, of a caller who left before its answer."""
_SHOWS_PATH: Final = "'utf-8' codec can't decode byte"
"""How its line begins about a path that is not UTF-8, which ends a server of grpc.aio."""
_NEVER_RETRIEVED: Final = "Task exception was never retrieved"
"""How asyncio's line begins that tells of this as well, with the path."""
_QUIET: Final = 60.0
"""Seconds after a line about such a header in which there is no other."""


class _WithoutCallers(logging.Filter):
    """Says that there was a header that is not UTF-8, but not which, and not for each of them.

    Of a caller who left it says nothing: that is no error of ours.
    """

    def __init__(self) -> None:
        super().__init__()
        self._quiet_until: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        said, what = str(record.msg), "a header that is not UTF-8; it is not shown"
        if said.startswith(_NEVER_RETRIEVED):
            return not (record.exc_info and record.exc_info[0] is UnicodeDecodeError)
        if said.startswith(_SHOWS_PATH):
            what = (
                "a path that is not UTF-8: its server had to begin again, and others' calls ended"
            )
        elif not said.startswith(_SHOWS_HEADER):
            return not said.startswith(_LEFT)
        now = time.monotonic()
        if now < self._quiet_until.get(what, now):
            return False
        self._quiet_until[what] = now + _QUIET
        record.msg, record.args = f"a peer sent {what}", ()
        record.exc_info = record.exc_text = None
        return True


_FILTER: Final = _WithoutCallers()


def keep_callers_out_of_the_log() -> None:
    """See to it for this process; a second time does nothing."""
    for name in (_LOGGER, "asyncio"):
        logging.getLogger(name).addFilter(_FILTER)

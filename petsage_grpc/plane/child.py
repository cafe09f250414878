"""The program of the plane's process: from its first moment on it ends with the application."""

import os
import sys
import threading
from typing import Final

__all__ = ["main"]

_LOOK_EVERY: Final = 0.05


def main() -> None:
    """Run the plane's process, as the application has started it."""
    link, cells, parent = map(int, sys.argv[1:])
    watched = threading.Event()

    def watch() -> None:
        while not watched.wait(_LOOK_EVERY):
            if os.getppid() != parent:
                os._exit(0)

    # The imports take a while, and the application may die meanwhile.
    threading.Thread(target=watch, daemon=True).start()
    from petsage_grpc.plane.child_service import serve  # noqa: PLC0415 -- they are after this
    from petsage_grpc.plane.turns import ask_for_short_turns  # noqa: PLC0415 -- likewise

    ask_for_short_turns()
    serve(link, cells, parent, watched.set)


if __name__ == "__main__":
    main()

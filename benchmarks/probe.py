"""How long a probe takes as a process: a kubelet starts one every few seconds, for ever."""

import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

from processes import HERE, OURS, alternate, running
from report import BenchError, Row, Target, main

__all__ = ["rows"]

_TIMEOUT = 20.0
_CLIENT = "grpcio client"


def rows(*, quick: bool) -> list[Row]:
    """Compare with a minimal grpcio client, both asking the same server."""
    script = str(Path(sys.executable).with_name("petsage-grpc"))
    with running(OURS) as server:
        takes = {
            _CLIENT: [sys.executable, str(HERE / "minimal_client.py"), server.address],
            OURS: [script, "probe", f"-addr={server.address}"],
        }
        taken = alternate(
            {name: partial(_run, command) for name, command in takes.items()}, 3 if quick else 40
        )
    target = Target(at_most=1.0, hoped=0.5)
    return [Row("probe, whole process", "ms", _CLIENT, taken[_CLIENT], taken[OURS], target)]


def _run(command: list[str]) -> float:
    """Return the milliseconds that a process takes; BenchError unless it ends with 0."""
    started = time.monotonic()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        # A wait with a timeout of its own would poll, and add what it sleeps.
        watchdog = threading.Timer(_TIMEOUT, process.kill)
        watchdog.start()
        try:
            process.wait()
            took = time.monotonic() - started
        finally:
            watchdog.cancel()
            process.kill()
        assert process.stderr is not None
        if process.returncode:
            said = process.stderr.read().decode(errors="replace").strip().rpartition("\n")[2]
            name = " ".join([Path(command[0]).name, *command[1:]])
            raise BenchError(f"`{name}` exited with {process.returncode}: {said}")
    return took * 1e3


if __name__ == "__main__":
    main({"probe": rows})

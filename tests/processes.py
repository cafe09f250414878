"""Runs the command as a process, as users do, and reads what it says."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

PETSAGE = (sys.executable, "-m", "petsage_grpc")
PATIENCE = 20.0
"""Seconds after which a process that should have said or done something has failed."""


def clean_environment(**variables: str) -> dict[str, str]:
    """Make an environment without settings of ours but these."""
    others = ("PETSAGE_", "KUBERNETES_SERVICE_HOST")  # the second tells that this is a container
    kept = {name: text for name, text in os.environ.items() if not name.startswith(others)}
    return kept | variables


def run(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a verb to its end."""
    return subprocess.run(
        [*PETSAGE, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False,
        env=clean_environment(**variables),
    )  # fmt: skip


class Served:
    """A `serve` that listens, with all that it has printed up to now."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: list[str] = []
        self.address = ""
        self._more = threading.Condition()
        self._silent = False  # whether it has printed its last
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.address = self.wait_for(r"listening on (\S+)")[1]

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._more:
                self.lines.append(line.rstrip("\n"))
                self._more.notify_all()
        with self._more:
            self._silent = True
            self._more.notify_all()

    def wait_for(self, pattern: str, since: int = 0) -> re.Match[str]:
        """Wait until a line has this pattern; the first so many do not count."""

        def find() -> "re.Match[str] | None":
            found = (re.search(pattern, line) for line in self.lines[since:])
            return next((match for match in found if match), None)

        with self._more:
            self._more.wait_for(lambda: find() or self._silent, PATIENCE)
            match = find()
        assert match is not None, f"no line has {pattern!r} in: {self.lines}"
        return match

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it without warning, and read what it has said to the end."""
        self.process.kill()
        self._reader.join(PATIENCE)

    def end(self) -> int:
        """Wait for its end; return the exit code."""
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code


@contextlib.contextmanager
def started(
    *arguments: str, stdout: int | None = None, stderr: int | None = None, **variables: str
) -> Iterator["subprocess.Popen[str]"]:
    """Run a verb; it is ended with the block."""
    with subprocess.Popen(
        [*PETSAGE, *arguments], stdout=stdout, stderr=stderr, text=True,
        env=clean_environment(**variables),
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def served(*arguments: str, **variables: str) -> Iterator[Served]:
    """Run `serve` on free ports until the end of the block."""
    variables = {"PETSAGE_FEATURES_LISTEN": "127.0.0.1:0"} | variables
    listen = [] if any("listen" in argument for argument in arguments) else ["--listen=127.0.0.1:0"]
    pipe, same = subprocess.PIPE, subprocess.STDOUT
    with started("serve", *listen, *arguments, stdout=pipe, stderr=same, **variables) as process:
        service = Served(process)
        try:
            yield service
        finally:
            service.kill()


def settings_file(folder: Path, *lines: str) -> Path:
    """Write a settings file."""
    path = folder / "petsage.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def python(code: str, arguments: Sequence[str] = ()) -> "subprocess.CompletedProcess[str]":
    """Run Python code as a process."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=PATIENCE,
        check=False, env=clean_environment(),
    )  # fmt: skip


def wait_for_state(pid: int, state: str) -> None:
    """Wait until every thread of a process is in a state, as `ps` writes it, or has ended."""
    end = time.monotonic() + PATIENCE
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            while (now := stat.read_text().rpartition(")")[2].split()[0]) not in f"{state}ZX":
                assert time.monotonic() < end, f"a thread of {pid} is in {now} and not in {state}"
                time.sleep(0.001)

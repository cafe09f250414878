"""Knows whether a directory can be written to: it writes, syncs and reads back a file there."""

import errno
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final

from petsage_grpc.checks._thread import run_blocking
from petsage_grpc.core.check import Check, CheckFailedError
from petsage_grpc.core.units import Size

__all__ = ["DiskCheck"]

_MIB: Final = 1024 * 1024
_PREFIX: Final = ".petsage-disk-"

_BLOCK: Final = 4096
"""Bytes that are written: enough that a file system has to find room for them."""

_LEFT_BEHIND: Final = 3600.0
"""Seconds after which a file of ours must be that of a process that was killed."""

_NOT_ALLOWED: Final = "this user can not create files in {0}: change its mode or its owner"
_FULL: Final = "no space is left in {0}: free some, or raise the quota"
_MENDS: Final = {
    errno.ENOENT: "{0} does not exist: create it, or name another directory",
    errno.ENOTDIR: "{0} is not a directory: name another one",
    errno.EACCES: _NOT_ALLOWED,
    errno.EPERM: _NOT_ALLOWED,
    errno.EROFS: "{0} is on a read-only file system: mount it writable, or name another directory",
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "files in {0} can not grow: raise the limit on file sizes (ulimit -f)",
}


@dataclass(kw_only=True)
class DiskCheck(Check):
    """Fails when a directory can not be written to, or when too little space is free in it."""

    outside: ClassVar[bool] = False

    directory: str = field(
        default="/tmp",  # noqa: S108 -- the file there has a name by chance and is opened with O_EXCL
        metadata={"help": "directory where a small file is written and read back"},
    )
    min_free: Size = field(
        default=Size(64 * _MIB),
        metadata={"help": "space that must be free there for unprivileged users"},
    )

    def __post_init__(self) -> None:
        """Refuse what can never work."""
        if not self.directory or "\0" in self.directory:
            raise ValueError(f'directory: {self.directory!r} is no path: write it like "/tmp"')
        if self.min_free < 0:
            raise ValueError('min_free must not be negative: write it like "64MiB", or 0 for none')
        self._swept = False

    async def run(self) -> None:
        """Write, sync, read back and remove a file, then look at the free space."""
        await run_blocking(self, self._run, name="petsage disk check")

    def _run(self) -> None:
        if not self._swept:
            self._sweep()
            self._swept = True
        self._write_and_read()
        with self._step("asking for the free space of"):
            space = os.statvfs(self.directory)
        free = space.f_bavail * space.f_frsize
        if free < self.min_free:
            raise CheckFailedError(
                f"{free / _MIB:.1f} MiB free in {self.directory}, below min_free ="
                f" {self.min_free / _MIB:g} MiB: free some space, or lower min_free"
            )

    def _sweep(self) -> None:
        """Remove what killed processes left, once in our life: so that it can not pile up."""
        self.doing = f"listing {self.directory}"
        before = time.time() - _LEFT_BEHIND
        with suppress(OSError):  # to list files is not what is asked; what is comes after
            for path in Path(self.directory).glob(f"{_PREFIX}*"):
                with suppress(OSError):  # another process may sweep at the same time
                    if path.lstat().st_mtime < before:
                        path.unlink()

    def _write_and_read(self) -> None:
        path = Path(self.directory, _PREFIX + secrets.token_hex(8))
        nonce, read = secrets.token_bytes(_BLOCK), b""
        with self._step("creating a file in"):
            file = open(path, "xb", opener=_open_private)  # noqa: SIM115 -- closed by the next step
        try:
            with self._step("writing to"), file:
                file.write(nonce)
                file.flush()
                self.doing = f"syncing what was written to {self.directory}"
                os.fsync(file.fileno())
            with self._step("reading from"), suppress(FileNotFoundError):
                read = path.read_bytes()
        finally:
            with self._step("removing a file from"):
                path.unlink(missing_ok=True)
        if read != nonce:
            raise CheckFailedError(
                f"{self.directory} did not give back what was written: check the disk, and that"
                f" nothing deletes {_PREFIX}* there"
            )

    @contextmanager
    def _step(self, doing: str) -> Iterator[None]:
        """Say what is done now, for a timeout; and say what to do about it when it fails."""
        self.doing = f"{doing} {self.directory}"
        try:
            yield
        except OSError as error:
            mend = _MENDS.get(error.errno or 0)
            said = f"{self.doing} failed: {error.strerror or error}"
            raise CheckFailedError(mend.format(self.directory) if mend else said) from error


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)

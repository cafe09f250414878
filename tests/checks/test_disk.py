"""The disk check meets real faults: each is made on a real file system and named with its mend."""

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from petsage_grpc.checks.disk import DiskCheck
from petsage_grpc.core.check import CheckFailedError
from petsage_grpc.core.units import Size

NOTHING = Size(0)

_SCRIPT = """
import asyncio, os, resource, sys
from petsage_grpc.checks.disk import DiskCheck
from petsage_grpc.core.check import CheckFailedError

directory = sys.argv[1]
{prepare}
try:
    asyncio.run(DiskCheck(directory=directory, min_free={min_free}).run())
except CheckFailedError as error:
    print(error)
else:
    print("passed")
print(sorted(os.listdir(directory)))
"""


def run_apart(directory: Path, *before: str, prepare: str = "", min_free: int = 0) -> list[str]:
    """Run the check in a process of its own, where a fault can be prepared.

    Returns what it said, and what lies in the directory then.
    """
    script = _SCRIPT.format(prepare=textwrap.dedent(prepare), min_free=min_free)
    done = subprocess.run(
        [*before, sys.executable, "-c", script, str(directory)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def mounted(options: str) -> list[str]:
    """Return the words that run a command where its last argument is a mounted tmpfs."""
    apart = ["unshare", "--user", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    script = f'mount -t tmpfs -o {options} none "$4" && exec "$@"'
    return [*apart, "sh", "-c", script, "sh"]


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory to which every user finds the way, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


async def test_a_directory_that_works_passes_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    await DiskCheck(directory=str(tmp_path), min_free=NOTHING).run()
    assert not names_in(tmp_path)


async def test_it_passes_in_a_name_with_braces_and_spaces(tmp_path: Path) -> None:
    directory = tmp_path / "a {0} {b}"
    directory.mkdir()
    await DiskCheck(directory=str(directory), min_free=NOTHING).run()


async def test_each_step_is_named_before_it_is_done(tmp_path: Path) -> None:
    steps: list[str] = []

    class Told(DiskCheck):
        def __setattr__(self, name: str, value: object) -> None:
            if name == "doing":
                steps.append(str(value))
            super().__setattr__(name, value)

    check = Told(directory=str(tmp_path), min_free=NOTHING)
    await check.run()
    assert steps == [
        f"{step} {tmp_path}"
        for step in (
            "listing", "creating a file in", "writing to", "syncing what was written to",
            "reading from", "removing a file from", "asking for the free space of",
        )
    ]  # fmt: skip
    steps.clear()
    await check.run()
    assert steps[0] == f"creating a file in {tmp_path}", "it lists the directory only once"


async def test_files_of_killed_processes_are_removed_and_no_others(tmp_path: Path) -> None:
    killed, running, other = (
        tmp_path / name for name in (".petsage-disk-killed", ".petsage-disk-running", "other")
    )
    for path in (killed, running, other):
        path.touch()
    for path in (killed, other):
        os.utime(path, (0, 0))
    await DiskCheck(directory=str(tmp_path), min_free=NOTHING).run()
    assert names_in(tmp_path) == [".petsage-disk-running", "other"]


async def test_what_can_not_be_removed_of_killed_processes_is_no_failure(tmp_path: Path) -> None:
    for number in range(0, 20, 2):
        (tmp_path / f".petsage-disk-{number}").mkdir()
        (tmp_path / f".petsage-disk-{number + 1}").touch()
    for name in names_in(tmp_path):
        os.utime(tmp_path / name, (0, 0))
    await DiskCheck(directory=str(tmp_path), min_free=NOTHING).run()
    assert all((tmp_path / name).is_dir() for name in names_in(tmp_path))
    assert len(names_in(tmp_path)) == 10


async def test_a_directory_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckFailedError) as failed:
        await DiskCheck(directory=str(tmp_path / "gone")).run()
    assert str(failed.value) == (
        f"{tmp_path}/gone does not exist: create it, or name another directory"
    )


async def test_a_directory_that_goes_while_the_check_lives_is_named(tmp_path: Path) -> None:
    directory = tmp_path / "volume"
    directory.mkdir()
    check = DiskCheck(directory=str(directory), min_free=NOTHING)
    await check.run()
    directory.rmdir()
    with pytest.raises(CheckFailedError, match="volume does not exist: create it"):
        await check.run()
    directory.mkdir()
    await check.run()


async def test_a_file_in_place_of_the_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckFailedError) as failed:
        await DiskCheck(directory=str(tmp_path / "file")).run()
    assert str(failed.value) == f"{tmp_path}/file is not a directory: name another one"


def test_a_directory_that_the_user_may_not_write_to_is_named(open_directory: Path) -> None:
    open_directory.chmod(0o555)
    # Mode bits do not hold root: the check runs as another user then.
    said, left = run_apart(open_directory, prepare="if not os.getuid(): os.setuid(65534)")
    assert said == (
        f"this user can not create files in {open_directory}: change its mode or its owner"
    )
    assert left == "[]"


def test_a_limit_on_file_sizes_is_named_and_the_file_removed(tmp_path: Path) -> None:
    said, left = run_apart(
        tmp_path,
        prepare="""
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        """,
    )
    assert said == (f"files in {tmp_path} can not grow: raise the limit on file sizes (ulimit -f)")
    assert left == "[]"


def test_a_full_file_system_is_named_and_the_file_removed(tmp_path: Path) -> None:
    said, left = run_apart(
        tmp_path,
        *mounted("size=64k"),
        prepare="""
        with open(directory + "/fill", "wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                pass
        """,
    )
    assert said == f"no space is left in {tmp_path}: free some, or raise the quota"
    assert left == "['fill']"


def test_a_read_only_file_system_is_named(tmp_path: Path) -> None:
    said, left = run_apart(tmp_path, *mounted("ro"))
    assert said == (
        f"{tmp_path} is on a read-only file system: mount it writable, or name another directory"
    )
    assert left == "[]"


async def test_less_free_space_than_wanted_is_told_with_both_figures(tmp_path: Path) -> None:
    with pytest.raises(CheckFailedError) as failed:
        await DiskCheck(directory=str(tmp_path), min_free=Size(2**62)).run()
    said = str(failed.value)
    assert f" MiB free in {tmp_path}, below min_free = " in said
    assert said.endswith(" MiB: free some space, or lower min_free")
    assert not names_in(tmp_path)


def test_the_free_space_of_a_small_file_system_is_told_as_people_read_it(tmp_path: Path) -> None:
    said, left = run_apart(tmp_path, *mounted("size=12m"), min_free=2**26)
    assert said == (
        f"12.0 MiB free in {tmp_path}, below min_free = 64 MiB: free some space, or lower min_free"
    )
    assert left == "[]"


async def test_space_that_is_kept_for_root_does_not_count_as_free(tmp_path: Path) -> None:
    space = os.statvfs(tmp_path)
    if space.f_bavail == space.f_bfree:
        pytest.skip("the file system here keeps nothing for root")
    between = Size((space.f_bavail + space.f_bfree) // 2 * space.f_frsize)
    with pytest.raises(CheckFailedError, match="below min_free"):
        await DiskCheck(directory=str(tmp_path), min_free=between).run()


async def test_any_other_error_is_told_with_the_step_that_failed(tmp_path: Path) -> None:
    directory = tmp_path / "{loop}"
    directory.symlink_to(directory)
    with pytest.raises(CheckFailedError) as failed:
        await DiskCheck(directory=str(directory)).run()
    assert str(failed.value) == (
        f"creating a file in {directory} failed: Too many levels of symbolic links"
    )


async def test_nobody_else_may_read_the_file(tmp_path: Path) -> None:
    modes: list[int] = []

    class Looked(DiskCheck):
        def __setattr__(self, name: str, value: object) -> None:
            if name == "doing" and str(value).startswith("reading"):
                modes.extend(path.stat().st_mode & 0o777 for path in tmp_path.iterdir())
            super().__setattr__(name, value)

    await Looked(directory=str(tmp_path), min_free=NOTHING).run()
    assert modes == [0o600]


async def test_a_file_that_is_deleted_before_it_is_read_back_is_a_failure(tmp_path: Path) -> None:
    class Swept(DiskCheck):
        def __setattr__(self, name: str, value: object) -> None:
            if name == "doing" and str(value).startswith("reading"):
                for path in tmp_path.iterdir():
                    path.unlink()
            super().__setattr__(name, value)

    with pytest.raises(CheckFailedError, match="did not give back what was written"):
        await Swept(directory=str(tmp_path), min_free=NOTHING).run()


@pytest.mark.parametrize("directory", ["", "/tmp\0/x"])
def test_a_directory_that_is_no_path_is_refused(directory: str) -> None:
    with pytest.raises(ValueError, match=r"^directory: .* is no path: write it like"):
        DiskCheck(directory=directory)


def test_a_negative_min_free_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^min_free must not be negative"):
        DiskCheck(min_free=Size(-1))

"""Files with tokens: read again while they are in use, and never a reason not to answer."""

import asyncio
import logging
import os
import signal
from pathlib import Path

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from petsage_grpc import HealthPlane
from petsage_grpc.rpc import authorize
from petsage_grpc.rpc import stubs as pb
from petsage_grpc.rpc.authorize import TokenFiles, _digest
from petsage_grpc.settings_tokens import LONGEST_TOKEN
from tests.conftest import ManualClock
from tests.plane.planes import planes_of
from tests.processes import PATIENCE
from tests.rpc.callers import NEW, OLD, WRONG, ask, bearer, knows_all, write_tokens
from tests.rpc.conftest import HOSTS, Backend


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    return write_tokens(tmp_path)


async def accepts(backend: Backend, token: str) -> bool:
    try:
        return knows_all(await ask(backend, bearer(token)))
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
            raise
        return False


@pytest.mark.parametrize("host", ["service", "process"])
async def test_a_token_is_replaced_without_a_gap_as_kubernetes_does_it(
    tmp_path: Path, host: str
) -> None:
    """The directory is swapped by its symbolic link; for a while both tokens hold."""
    place = tmp_path / "secret"
    place.mkdir()

    def swap(version: str, *held: str) -> None:
        (place / version).mkdir()
        (place / version / "token").write_text("\n".join(held))
        (place / "..tmp").symlink_to(version)
        (place / "..tmp").rename(place / "..data")

    swap("..1", OLD)
    (place / "token").symlink_to("..data/token")
    missing = {"kind": "disk", "directory": str(tmp_path / "missing"), "min_free": 0}
    given = {"listen": "127.0.0.1:0", "checks": {"disk": missing}}
    async with (
        HOSTS[host](given | {"token_files": [str(place / "token")]}) as hosted,
        grpc.aio.insecure_channel(hosted.address) as channel,
    ):
        backend = Backend(hosted, channel, tmp_path)
        while not knows_all(await ask(backend, bearer(OLD))):
            pass
        swap("..2", NEW, OLD)
        while not await accepts(backend, NEW):
            assert await accepts(backend, OLD)
        assert await accepts(backend, OLD)
        swap("..3", NEW)
        while await accepts(backend, OLD):
            assert await accepts(backend, NEW)
        assert await accepts(backend, NEW)


async def test_a_plane_that_begins_anew_does_so_without_a_file_that_became_bad(
    tokens: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Health goes on, and the tokens of the file when it is mended."""
    plane = HealthPlane.from_settings(
        listen="127.0.0.1:0", checks={}, isolation="process", token_files=[str(tokens)]
    )
    with plane:
        (before,) = planes_of(os.getpid())
        tokens.write_text("")  # noqa: ASYNC240 -- nothing else is to run here
        os.kill(before, signal.SIGKILL)
        async with grpc.aio.insecure_channel(plane.address) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[no-untyped-call]
            await check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=PATIENCE)
            smoke = pb.SmokeTestServiceStub(channel).SmokeTest
            with pytest.raises(grpc.aio.AioRpcError, match="none of those in token_files"):
                await smoke(pb.SmokeTestRequest(), metadata=[bearer(OLD)], wait_for_ready=True)
        assert planes_of(os.getpid()) != [before]
    assert f"{str(tokens)!r} has no token in it" in caplog.text


SPOILED = {
    "gone": ("", "can not be read: No such file or directory"),
    "a directory": ("", "is no file"),
    "a pipe": ("", "is no file"),
    "empty": (b"", "has no token in it"),
    "blank": (b" \n\n", "has no token in it"),
    "short": (b"0123456789abcde\n", "line 1 has 15 characters, and a token from 16 to 4096"),
    "not UTF-8": (f"{OLD}\n".encode() + b"\xff" * 20, "line 2 is not UTF-8"),
    "not ASCII": (f"{OLD}\n{NEW}é\n".encode(), "line 2 is no token"),
    "with spaces": (b"a comment, and no token\n", "line 1 is no token"),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_broken_new_file_keeps_the_old_tokens_and_is_told_once(
    tokens: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    files = TokenFiles([str(tokens)])
    content, told = SPOILED[how]
    tokens.unlink()
    if how == "a directory":
        tokens.mkdir()
    elif how == "a pipe":
        os.mkfifo(tokens)
    elif isinstance(content, bytes):
        tokens.write_bytes(content)
    for _ in range(3):
        files.look()
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    line = record.getMessage()
    assert line.startswith(f"token_files: {str(tokens)!r} {told}")
    assert line.endswith("; the tokens that it had still hold")
    assert OLD not in line
    assert files.admit(OLD)
    assert files.admit(NEW)
    tokens.rmdir() if how == "a directory" else tokens.unlink(missing_ok=True)
    tokens.write_text(WRONG)
    files.look()
    assert caplog.records[1].getMessage() == f"token_files: read {str(tokens)!r} again, tokens: 1"
    assert files.admit(WRONG)
    assert not files.admit(OLD)


def test_a_file_that_is_broken_from_the_start_keeps_nothing_from_working(
    tokens: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """So a plane's process that begins anew does, for nobody is there to mend the settings."""
    files = TokenFiles([str(tmp_path / "missing"), str(tokens)])
    assert "; no token of it holds" in caplog.text
    assert files.admit(OLD)
    assert not files.admit("")


def test_a_token_longer_than_any_is_refused_before_it_costs_a_digest(
    tokens: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest, digested = "x" * LONGEST_TOKEN, list[str]()
    tokens.write_text(longest)
    files = TokenFiles([str(tokens)])

    def digest(token: str) -> bytes:
        digested.append(token)
        return _digest(token)

    monkeypatch.setattr(authorize, "_digest", digest)
    assert not files.admit(longest + "x")
    assert digested == []
    assert files.admit(longest)
    assert digested == [longest]


async def test_the_files_are_looked_at_as_long_as_somebody_needs_them(
    tokens: Path, clock: ManualClock
) -> None:
    files = TokenFiles([str(tokens)])
    files.keep_looking(clock)
    tokens.write_text(WRONG)  # noqa: ASYNC240 -- nothing else is to run here
    await clock.advance(1)
    while not files.admit(WRONG):
        await asyncio.sleep(0)
    del files
    await clock.advance(2)
    assert not clock._due, "nobody is looked after any more"

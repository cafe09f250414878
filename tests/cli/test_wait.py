"""`wait` against real services: it returns as soon as there is one that serves, or gives up."""

import asyncio
import contextlib
import queue
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import PATIENCE, run, served, settings_file, started


def test_it_returns_once_the_service_is_serving(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    config = settings_file(
        tmp_path, "[checks.disk]", 'kind = "disk"', f'directory = "{directory}"', "min_free = 0",
        "interval = 0.05", "rise = 1",
    )  # fmt: skip
    address = f"unix:{tmp_path}/it.sock"
    with started("wait", address, "--every", "10ms", stderr=subprocess.PIPE) as waiting:
        assert waiting.stderr is not None
        assert "no such file" in waiting.stderr.readline()
        with served("--config", str(config), "--listen", address):
            told = waiting.stderr.readline()
            if "connection refused" in told:  # the socket is there before anybody listens on it
                told = waiting.stderr.readline()
            assert told == "petsage-grpc wait: status: NOT_SERVING\n"
            directory.mkdir()
            assert waiting.wait(PATIENCE) == 0
            assert waiting.stderr.readline().startswith("status: SERVING after ")


def test_it_waits_for_any_name() -> None:
    with served() as process:
        assert run("wait", process.address, "--service", "liveness").returncode == 0


def test_it_gives_up_with_what_the_last_try_ended_with(tmp_path: Path) -> None:
    config = settings_file(
        tmp_path, "[checks.disk]", 'kind = "disk"', 'directory = "/no/such/directory"'
    )
    brief = ("--timeout", "100ms", "--every", "20ms")
    with served("--config", str(config)) as process:
        not_serving = run("wait", process.address, *brief)
        unknown = run("wait", process.address, "--service", "nobody", *brief)
    refused = run("wait", "127.0.0.1:1", *brief)
    assert (not_serving.returncode, unknown.returncode, refused.returncode) == (4, 3, 2)
    assert "status: NOT_SERVING" in not_serving.stderr
    assert 'NOT_FOUND: unknown health name "nobody"' in unknown.stderr
    assert "connection refused" in refused.stderr
    for ended in (not_serving, unknown, refused):
        assert "gave up after" in ended.stderr.splitlines()[-1]


@contextlib.contextmanager
def distant(address: str, delay: float) -> Iterator[str]:
    """Stand between a client and a server at `address`, and pass on what is said `delay` late."""
    ready: queue.Queue[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = queue.Queue()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await asyncio.sleep(delay)
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = address.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        await asyncio.gather(pipe(reader, far_writer), pipe(far_reader, writer))

    async def listen() -> None:
        done = asyncio.Event()
        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        ready.put((server.sockets[0].getsockname()[1], asyncio.get_running_loop(), done))
        await done.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)  # the connections are closed by then

    thread = threading.Thread(target=lambda: asyncio.run(listen()))
    thread.start()
    port, loop, done = ready.get(timeout=PATIENCE)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(PATIENCE)


def test_its_own_deadline_does_not_hide_what_a_distant_server_said(tmp_path: Path) -> None:
    config = settings_file(
        tmp_path, "[checks.disk]", 'kind = "disk"', 'directory = "/no/such/directory"'
    )
    with served("--config", str(config)) as process, distant(process.address, 0.02) as address:
        not_serving = run("wait", address, "--timeout", "1s")
        unknown = run("wait", address, "--timeout", "1s", "--service", "nobody")
    assert (not_serving.returncode, unknown.returncode) == (4, 3)
    assert "DEADLINE" not in unknown.stderr


def test_it_does_not_wait_for_what_waiting_will_not_mend() -> None:
    ended = run("wait", "127.0.0.1", "--timeout", "1h")
    assert ended.returncode == 1
    assert "the port is missing" in ended.stderr


@pytest.mark.parametrize("arguments", [[], ["x:1", "--service", "\udcff"], ["x:1", "--every=0"]])
def test_a_mistake_is_exit_1_and_one_line(arguments: list[str]) -> None:
    ended = run("wait", *arguments)
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1

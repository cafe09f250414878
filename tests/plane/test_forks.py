"""A plane and a fork: what works in the child does, and what would hang is refused."""

import os
import subprocess
import sys

import pytest

from tests.processes import PATIENCE, clean_environment

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

BEFORE = """
import asyncio, os, signal, subprocess, sys, threading
from petsage_grpc import HealthPlane, PlaneError

def make():
    return HealthPlane.from_settings(listen="127.0.0.1:0", checks={}, isolation=ISOLATION)

def ask(address):
    probe = [sys.executable, "-m", "petsage_grpc", "probe", "-addr=" + address]
    asked = subprocess.run([*probe, "-service=liveness"], capture_output=True)
    return asked.returncode == 0

TASKS = "/proc/self/task"

def grpc_ends():
    signal.alarm(15)  # should it not
    while os.path.isdir(TASKS) and len(os.listdir(TASKS)) > 1:  # some time after its last server
        threading.Event().wait(0.01)
    signal.alarm(0)

def in_child(use=lambda: None):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        signal.alarm(15)  # should it hang
        try:
            use()
            with make() as plane:
                print("answers" if ask(plane.address) else "lies")
        except PlaneError as error:
            print("refused:", error)
        sys.stdout.flush()
        os._exit(0)
    print("child ended with", os.waitpid(child, 0)[1])
"""
"""What each process begins with."""

NOTHING = "in_child()"
IMPORT = "import grpc.aio\nin_child()"
RUNNING = "with make() as plane:\n    in_child()\n    print('parent', ask(plane.address))"
RUNNING_OF_ANY = """
with HealthPlane.from_settings(listen="127.0.0.1:0", checks={}):
    in_child()
"""
STOPPED = "with make(): pass\ngrpc_ends()\nin_child()"
OWN_LOOP = """
import grpc.aio
async def live():
    server = grpc.aio.server()
    server.add_insecure_port("127.0.0.1:0")
    await server.start()
    in_child()
    await server.stop(None)
asyncio.run(live())
"""
OWN_POOL = """
import grpc
from concurrent.futures import ThreadPoolExecutor
server = grpc.server(ThreadPoolExecutor(1))
server.add_insecure_port("127.0.0.1:0")
server.start()
in_child()
server.stop(None).wait()
"""
OPEN_CHANNEL = """
import grpc
channel = grpc.insecure_channel("127.0.0.1:1")
try:
    channel.unary_unary("/a/b")(b"", timeout=0.1)
except grpc.RpcError:
    pass
in_child()
channel.close()
"""

ANSWERS = ["answers", "child ended with 0"]
REFUSAL = (
    "refused: grpc was at work in this process's parent when it was forked, so that a plane on a"
    " thread would hang here: fork before anything uses grpc, start workers by spawn, or use"
    ' isolation="process"'
)
REFUSED = [REFUSAL, "child ended with 0"]


def run(code: str, *, support: str = "", isolation: str = "thread") -> list[str]:
    """Run code as a process with grpc's support of forks so set; return what it prints."""
    environment = clean_environment()
    environment.pop("GRPC_ENABLE_FORK_SUPPORT", None)
    if support:
        environment["GRPC_ENABLE_FORK_SUPPORT"] = support
    ended = subprocess.run(
        [sys.executable, "-c", BEFORE.replace("ISOLATION", repr(isolation)) + code], text=True,
        capture_output=True, timeout=2 * PATIENCE, check=False, env=environment,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stdout.splitlines()


@pytest.mark.parametrize("support", ["", "0", "1"], ids=["as it is", "off", "on"])
@pytest.mark.parametrize(
    ("code", "told"),
    [
        pytest.param(NOTHING, ANSWERS, id="nothing"),
        pytest.param(IMPORT, ANSWERS, id="an import"),
        pytest.param(STOPPED, ANSWERS, id="a plane that has stopped"),
        pytest.param(RUNNING, [*REFUSED, "parent True"], id="a plane"),
        pytest.param(OWN_LOOP, REFUSED, id="a grpc.aio server"),
        pytest.param(OWN_POOL, REFUSED, id="a sync server"),
    ],
)
def test_after_this_in_the_parent_a_child_is_told(code: str, told: list[str], support: str) -> None:
    assert run(code, support=support) == told


@pytest.mark.parametrize(("support", "told"), [("", ANSWERS), ("1", ANSWERS), ("0", REFUSED)])
def test_an_open_channel_is_a_hindrance_only_where_grpc_does_not_prepare_for_forks(
    support: str, told: list[str]
) -> None:
    assert run(OPEN_CHANNEL, support=support) == told


def test_a_plane_that_runs_in_the_parent_is_none_in_the_child() -> None:
    code = """
def use():
    for word in (
        lambda: plane.address,
        lambda: plane.drain(),
        lambda: plane.set("mine", serving=True),
        lambda: plane.clear("mine"),
        lambda: plane.heartbeat("mine"),
    ):
        try:
            word()
        except PlaneError as error:
            print(error)
    plane.stop()

with make() as plane:
    in_child(use)
    print("parent", ask(plane.address))
"""
    *told, refused, ended, parent = run(code)
    runs = "the plane runs in the process from which this one was forked"
    assert told == 5 * [f"{runs}: start it after the fork, in each worker"]
    assert [refused, ended, parent] == [*REFUSED, "parent True"]


def test_a_plane_that_was_made_before_the_fork_starts_after_it() -> None:
    code = """
plane = make()
plane.set("mine", serving=True)

def use():
    with plane:
        print("its own", ask(plane.address))

in_child(use)
use()
"""
    assert run(code) == ["its own True", *ANSWERS, "its own True"]


def test_a_fork_while_another_thread_holds_the_locks_leaves_them_free_in_the_child() -> None:
    code = """
plane = make()
held, over = threading.Event(), threading.Event()

def hold():
    with plane._life, plane._lock:
        held.set()
        over.wait()

def use():
    with plane:
        print("its own", ask(plane.address))

threading.Thread(target=hold).start()
held.wait()
in_child(use)
over.set()
"""
    assert run(code) == ["its own True", *ANSWERS]


@pytest.mark.parametrize("support", ["", "0", "1"], ids=["as it is", "off", "on"])
@pytest.mark.parametrize("code", [RUNNING_OF_ANY, OWN_LOOP, OWN_POOL], ids=["plane", "aio", "sync"])
def test_a_plane_in_a_process_of_its_own_works_after_any_fork(code: str, support: str) -> None:
    told = run(code, support=support, isolation="process")
    assert told[:2] == ANSWERS

"""What goes wrong with the features or with the plane's loop is told soon, and by both ports."""

import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from petsage_grpc.core.clock import boot_time
from petsage_grpc.core.status import Status as Our
from petsage_grpc.plane import features
from petsage_grpc.plane.mirror import Mirror
from petsage_grpc.rpc.hops import HOPS
from tests.plane.conftest import NAP_SERVICE, SERVICE, App, Status, bring, running
from tests.processes import PATIENCE

NAP = f"/{NAP_SERVICE}/Nap"


def mirror_of(app: App) -> Mirror:
    assert app.service._hosted is not None
    mirror = app.service._hosted._mirror
    assert mirror is not None
    return mirror


async def shown(app: App, name: str = "") -> None:
    """Wait until a name is SERVING on the features' port."""
    watch = app.watch_features(name)
    while (await watch.read()).status != Status.SERVING:
        pass
    watch.cancel()


def says(code: str) -> str:
    """Make a feature whose method does this."""
    return SERVICE.replace('return b"zzz"', code)


async def test_an_answer_is_shown_no_longer_than_its_checks_vouch_for_it(site: Path) -> None:
    bring(site, SERVICE)
    quick = {"kind": "disk", "interval": 0.2, "timeout": 0.1, "stale_after": 0.5, "gates": []}
    async with running(checks={"quick": quick}, groups={"group": ["quick"]}) as app:
        await shown(app, "group")
        names = mirror_of(app).names
        names._now = lambda: boot_time() + 3.0  # and the plane's loop, which is ours, is blocked
        assert names.read("group") is Our.NOT_SERVING
        assert names.read("liveness") is Our.SERVING


@pytest.mark.parametrize("known", [True, False])
async def test_a_check_of_another_service_does_not_wait_for_a_plane_that_is_blocked(
    site: Path, *, known: bool
) -> None:
    bring(site, SERVICE)
    async with running() as app:
        await shown(app)
        with grpc.insecure_channel(app.service.features_addresses[0]) as channel:
            stub = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
            call = stub.Check.future(
                health_pb2.HealthCheckRequest(service="" if known else "nobody"),
                metadata=((HOPS, "orders"),), timeout=PATIENCE,
            )  # fmt: skip
            wrong = call.exception()  # this blocks the plane's loop: it is the one of the test
            trailers = dict(call.trailing_metadata())
    if known:
        assert wrong is None
        assert call.result().status == Status.NOT_SERVING
    else:
        assert call.code() is grpc.StatusCode.NOT_FOUND
    assert trailers == {}


async def test_what_is_shown_does_not_pile_up_at_a_loop_that_is_blocked(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(site, SERVICE)
    async with running() as app:
        await shown(app)
        mirror, posted = mirror_of(app), []

        class Blocked:
            @staticmethod
            def call_soon_threadsafe(call: Callable[[], Any]) -> None:
                posted.append(call)

        mirror._posted = False
        monkeypatch.setattr(mirror, "_loop", Blocked)
        for serving in (True, False, True):
            app.service.plane.say("later", serving=serving, reason="", ttl=None)
            mirror._post()
        assert len(posted) == 1
        posted.pop()()
        assert mirror.names.read("later") is Our.SERVING, "the newest"
        mirror._post()
        assert len(posted) == 1


async def test_a_request_to_a_feature_may_be_larger_than_one_about_health(site: Path) -> None:
    bring(site, says("return str(len(request)).encode()"))
    async with running() as app:
        assert await app.call(NAP, b"z" * 1024**2) == b"1048576"
    async with running(features_max_message_size="2KiB") as app:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await app.call(NAP, b"z" * 4096)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


HANGS = """
from log_line import told
def wait():
    assert told.wait(20), "nobody was told"
"""


@pytest.mark.parametrize("code", ["wait()\ndef mount(feature): ...", "def mount(feature): wait()"])
async def test_what_hangs_while_it_is_imported_or_mounted_is_told(
    site: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    bring(site, HANGS + code)
    monkeypatch.setattr(features, "_LONG", 0.01)
    told = threading.Event()
    monkeypatch.setitem(sys.modules, "log_line", SimpleNamespace(told=told))
    lines = []

    class Hears(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())
            told.set()

    hears, log = Hears(), logging.getLogger("petsage_grpc.features")
    log.addHandler(hears)
    try:
        async with running() as app:
            await app.becomes(Status.SERVING)
    finally:
        log.removeHandler(hears)
    assert lines == ["still importing or mounting feature naps (petsage-naps)"]

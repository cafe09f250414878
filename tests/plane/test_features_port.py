"""The port of the features tells the names as the plane does, and no longer than it knows."""

import sys
from pathlib import Path

import grpc
import grpc.aio
import pytest

from petsage_grpc.core.clock import boot_time
from petsage_grpc.core.status import Status as Our
from petsage_grpc.rpc import stubs as pb
from tests.plane.conftest import NAP_SERVICE, SERVICE, TWO_CHECKS, Status, bring, running

SMOKE_TEST = "petsage.v1.SmokeTestService"


LOOP_ENDS = """
import asyncio, sys

def mount(feature):
    asyncio.get_running_loop().call_soon(sys.exit, 3)
"""


async def test_a_feature_that_ends_the_loop_is_told_and_ends_nothing_else(
    site: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bring(site, LOOP_ENDS)
    async with running(max_silence=0.2) as app:
        await app.becomes(Status.NOT_SERVING, "liveness")
        assert (await app.smoke()).status == pb.STATUS_FAILING
    assert "the loop of the features has ended: SystemExit(3)" in caplog.messages


async def test_features_without_a_service_take_no_port(site: Path) -> None:
    bring(site, TWO_CHECKS)
    async with running(features_listen="no-such-host.invalid:1") as app:
        assert app.service.features_addresses == ()
        await app.becomes(Status.SERVING)


async def test_the_settings_may_say_otherwise_of_the_heartbeat_of_the_loop(site: Path) -> None:
    bring(site, "def mount(feature): ...")
    beat = {"features": {"kind": "heartbeat", "max_silence": "5m", "gates": ["readiness"]}}
    async with running(checks=beat) as app:
        await app.becomes(Status.SERVING)
        (told,) = (await app.smoke()).checks
        assert (told.name, list(told.gates)) == ("features", ["", "readiness", SMOKE_TEST])


async def test_who_watches_on_the_features_port_sees_what_the_plane_knows(site: Path) -> None:
    code = TWO_CHECKS.replace("feature.message", "put_service_in(feature)\n    feature.message")
    bring(site, SERVICE + code)
    async with running() as app:
        watch, later = app.watch_features(NAP_SERVICE), app.watch_features("petsage.v1.Later")
        while (await watch.read()).status != Status.SERVING:
            pass
        assert (await later.read()).status == Status.SERVICE_UNKNOWN
        sys.modules["naps_feature"].broken.append(1)
        assert (await watch.read()).status == Status.NOT_SERVING
        sys.modules["naps_feature"].broken.clear()
        assert (await watch.read()).status == Status.SERVING
        app.service.plane.say("petsage.v1.Later", serving=True, reason="", ttl=None)
        assert (await later.read()).status == Status.SERVING
        app.service.plane.take_back("petsage.v1.Later")
        assert (await later.read()).status == Status.SERVICE_UNKNOWN
        await app.service.stop()
        assert (await watch.code(), await later.code()) == (grpc.StatusCode.UNAVAILABLE,) * 2


async def test_a_check_of_another_service_is_answered_there_as_by_the_plane(site: Path) -> None:
    bring(site, SERVICE)
    async with running(backend="naps") as app:
        await app.becomes(Status.SERVING)
        told = await app.hop_features("orders")
        assert told == (Status.SERVING, {"petsage-reaches": "naps=0"})


async def test_what_is_shown_on_the_features_port_is_not_believed_for_ever(site: Path) -> None:
    bring(site, SERVICE)
    async with running() as app:
        await app.becomes(Status.SERVING)
        hosted = app.service._hosted
        assert hosted is not None
        mirror = hosted._mirror
        assert mirror is not None
        mirror.names._now = lambda: boot_time() + 3600.0
        assert mirror.names.read("") is not Our.SERVING

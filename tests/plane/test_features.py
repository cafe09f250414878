"""A feature that is mounted is served, has its health name, and brings checks of its own."""

import asyncio
import logging
import sys
from pathlib import Path

import grpc
import grpc.aio
import pytest

from petsage_grpc.core.check import Check
from petsage_grpc.plane.features import Feature
from petsage_grpc.rpc import stubs as pb
from petsage_grpc.settings import BadSettingError
from tests.plane.conftest import FAST, NAP_SERVICE, SERVICE, TWO_CHECKS, Status, bring, running

SMOKE_TEST = "petsage.v1.SmokeTestService"


class Always(Check):
    """A check of somebody's own class."""

    outside = False

    async def run(self) -> None:
        """Pass."""


async def test_its_service_is_served_and_known_to_reflection(site: Path) -> None:
    bring(site, SERVICE)
    async with running() as app:
        assert await app.call(f"/{NAP_SERVICE}/Nap") == b"zzz"
        assert await app.code(f"/{NAP_SERVICE}/Wake") is grpc.StatusCode.UNIMPLEMENTED
        assert await app.features_services() == [
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
            NAP_SERVICE,
        ]
        assert await app.services() == [
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
            "petsage.v1.SmokeTestService",
        ]


async def test_without_features_nothing_of_them_is_there(site: Path) -> None:
    async with running() as app:
        assert await app.services() == [
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
            "petsage.v1.SmokeTestService",
        ]
        assert list((await app.smoke()).features) == []


@pytest.mark.parametrize("way", ["add_generic_rpc_handlers", "add_registered_method_handlers"])
async def test_a_service_that_is_put_in_in_one_way_only_is_served_as_well(
    site: Path, way: str
) -> None:
    other = {"add_generic_rpc_handlers": "registered", "add_registered_method_handlers": "generic"}
    lines = [line for line in SERVICE.splitlines() if f"feature.add_{other[way]}" not in line]
    bring(site, "\n".join(lines))
    async with running() as app:
        assert await app.call(f"/{NAP_SERVICE}/Nap") == b"zzz"
        assert NAP_SERVICE in await app.features_services()


async def test_a_handler_without_a_service_is_served_without_a_name(site: Path) -> None:
    code = """
import grpc
class Any(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: request * 2)
def mount(feature):
    feature.add_generic_rpc_handlers((Any(),))
"""
    bring(site, code)
    async with running() as app:
        assert await app.call("/any/Thing", b"ab") == b"abab"
        await app.becomes(Status.SERVING)
        assert len(await app.features_services()) == 2


async def test_its_service_has_a_health_name_that_answers_as_readiness(site: Path) -> None:
    bring(
        site,
        SERVICE
        + TWO_CHECKS.replace("\n    feature.m", "\n    put_service_in(feature)\n    feature.m"),
    )
    async with running() as app:
        await app.becomes(Status.SERVING, NAP_SERVICE)
        await app.becomes(Status.SERVING)
        sys.modules["naps_feature"].broken.append(1)
        await app.becomes(Status.NOT_SERVING, NAP_SERVICE)
        await app.becomes(Status.NOT_SERVING)


async def test_a_group_of_that_name_says_otherwise_and_may_name_checks_of_features(
    site: Path,
) -> None:
    code = (
        SERVICE
        + f"""
def mount(feature):
    put_service_in(feature)
    @feature.check("bed", {FAST}, gates=[])
    def bed():
        return False
"""
    )
    bring(site, code)
    async with running(groups={NAP_SERVICE: ["bed"]}) as app:
        await app.becomes(Status.SERVING)
        await app.becomes(Status.NOT_SERVING, NAP_SERVICE)


async def test_its_smoke_test_tells_its_own_message_and_checks_alone(site: Path) -> None:
    bring(site, TWO_CHECKS)
    disk = {"disk": {"kind": "disk", "min_free": 0}}
    async with running(checks=disk) as app:
        answer = await app.smoke_becomes(pb.STATUS_OK, "naps")
        assert (answer.feature, answer.message) == ("naps", "Naps are taken.")
        assert [check.name for check in answer.checks] == ["bed", "quiet"]
        assert list(answer.features) == ["naps"]
        whole = await app.smoke_becomes(pb.STATUS_OK, "smoke_test")
        assert whole.feature == "smoke_test"
        assert whole.message == "PetSage Backend is awake and purring!"
        assert [check.name for check in whole.checks] == ["disk", "features", "bed", "quiet"]
        assert list(whole.features) == ["naps"]


async def test_each_feature_is_weighed_by_its_own_checks(site: Path) -> None:
    bring(site, TWO_CHECKS)
    toys = f"def mount(feature):\n    feature.check('toys', {FAST})(lambda: False)\n"
    bring(site, toys, "toys", "petsage-toys")
    async with running() as app:
        failing = await app.smoke_becomes(pb.STATUS_FAILING, "toys")
        assert failing.message == "The feature toys is not well: toys."
        well = await app.smoke_becomes(pb.STATUS_OK, "naps")
        assert list(well.features) == ["naps", "toys"]
        assert (await app.smoke()).status == pb.STATUS_FAILING


async def test_a_feature_without_message_says_what_the_backend_says(site: Path) -> None:
    bring(site, "def mount(feature): pass")
    async with running(message="Purr.") as app:
        answer = await app.smoke("naps")
        assert (answer.status, answer.message) == (pb.STATUS_OK, "Purr.")
        assert list(answer.checks) == []


async def test_the_settings_have_the_last_word_on_its_message_and_add_checks(site: Path) -> None:
    bring(site, TWO_CHECKS)
    disk = {"disk": {"kind": "disk", "min_free": 0}}
    said = {"naps": {"message": "Zzz.", "checks": ["disk", "disk"]}}
    async with running(checks=disk, features=said) as app:
        answer = await app.smoke_becomes(pb.STATUS_OK, "naps")
        assert answer.message == "Zzz."
        assert [check.name for check in answer.checks] == ["bed", "quiet", "disk"]


async def test_a_heartbeat_passes_while_it_beats_and_fails_in_silence(site: Path) -> None:
    code = """
def mount(feature):
    feature.beat = feature.heartbeat("worker", max_silence=0.2)
"""
    bring(site, code)
    async with running() as app:

        async def beat() -> None:
            while True:
                app.service.features[0].beat()  # type: ignore[attr-defined]
                await asyncio.sleep(0.01)

        for _ in range(2):
            beating = asyncio.create_task(beat())
            await app.becomes(Status.SERVING)
            beating.cancel()
            await app.becomes(Status.NOT_SERVING)


async def test_a_check_of_any_kind_can_be_added(site: Path) -> None:
    code = """
from petsage_grpc.checks.disk import DiskCheck
def mount(feature):
    feature.add_check("spool", DiskCheck(min_free=0), interval="30s", fall=5, gates=["liveness"])
"""
    bring(site, code)
    async with running() as app:
        await app.becomes(Status.SERVING, "liveness")
        (spool,) = (await app.smoke_becomes(pb.STATUS_OK, "naps")).checks
        assert list(spool.gates) == ["liveness"]
        settings = app.service.checks["spool"]
        assert (settings.kind, settings.policy.interval, settings.policy.fall) == ("disk", 30.0, 5)


async def test_what_it_brings_runs_on_one_loop_which_is_not_that_of_the_plane(site: Path) -> None:
    code = """
import asyncio
loops = []
def mount(feature):
    loops.append(asyncio.get_running_loop())
    put_service_in(feature, nap=nap)
    @feature.check("bed", interval=0.02)
    async def bed():
        loops.append(asyncio.get_running_loop())
async def nap(request, context):
    loops.append(asyncio.get_running_loop())
    return b"zzz"
"""
    bring(site, SERVICE + code)
    async with running() as app:
        await app.becomes(Status.SERVING)
        await app.call(f"/{NAP_SERVICE}/Nap")
        loops = sys.modules["naps_feature"].loops
        assert len(loops) >= 3
        assert len(set(loops)) == 1
        assert asyncio.get_running_loop() not in loops


async def test_an_error_of_its_service_is_its_own(site: Path) -> None:
    code = SERVICE.replace('return b"zzz"', "raise ValueError('no bed')")
    bring(site, code)
    async with running() as app:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await app.call(f"/{NAP_SERVICE}/Nap")
        assert caught.value.code() is grpc.StatusCode.UNKNOWN
        await app.becomes(Status.SERVING)


async def test_the_log_introduces_it(site: Path, caplog: pytest.LogCaptureFixture) -> None:
    bring(site, SERVICE)
    bring(site, TWO_CHECKS, "quiet", "petsage-quiet")
    with caplog.at_level(logging.INFO):
        async with running() as app:
            app.service._introduce()
    assert f"feature naps (petsage-naps) serves {NAP_SERVICE}" in caplog.messages
    assert "feature quiet (petsage-quiet) serves no service" in caplog.messages
    assert any(line.startswith("check bed (python) every 20ms") for line in caplog.messages)
    assert f"the features listen on {app.service.features_addresses[0]}" in caplog.messages
    assert (
        "check features (heartbeat) is heard of within 10s, and gates readiness, liveness, startup"
        in caplog.messages
    )


def test_one_feature_can_not_have_two_checks_of_one_name() -> None:
    feature = Feature("naps")
    feature.add_check("bed", Always())
    with pytest.raises(ValueError, match="there are two checks 'bed'"):
        feature.add_check("bed", Always())


@pytest.mark.parametrize(
    ("name", "policy", "wrong"),
    [
        ("bed", {"fall": 0}, "checks.bed.fall: must be at least 1"),
        ("bed", {"interval": "soon"}, "checks.bed.interval: 'soon' is not a duration"),
        ("bed", {"intervall": 1}, "checks.bed.intervall: no such setting; did you mean interval?"),
        ("no bed", {}, 'checks."no bed": is no name for a check'),
    ],
)
def test_a_policy_is_read_as_in_the_settings(
    name: str, policy: dict[str, object], wrong: str
) -> None:
    with pytest.raises(BadSettingError) as caught:
        Feature("naps").add_check(name, Always(), **policy)
    assert str(caught.value).startswith(wrong)


def test_a_check_that_reaches_outside_can_not_gate_liveness() -> None:
    with pytest.raises(BadSettingError, match=r"checks\.db\.gates: a check that reaches outside"):
        Feature("naps").check("db", gates=["liveness"])(lambda: None)


async def test_after_it_is_mounted_nothing_can_be_put_in(site: Path) -> None:
    bring(site, SERVICE)
    async with running() as app:
        (feature,) = app.service.features
        with pytest.raises(RuntimeError, match="too late"):
            feature.add_check("bed", Always())
        with pytest.raises(RuntimeError, match="too late"):
            feature.add_generic_rpc_handlers(())
        with pytest.raises(RuntimeError, match="too late"):
            feature.add_registered_method_handlers("a", {})


async def test_it_is_no_server_that_can_be_run_by_itself() -> None:
    feature = Feature("naps")
    for refused in (feature.start, feature.wait_for_termination, lambda: feature.stop(None)):
        with pytest.raises(RuntimeError, match="the service does that"):
            await refused()
    with pytest.raises(RuntimeError, match="listen on a:1 by itself: the setting features_listen"):
        feature.add_insecure_port("a:1")
    with pytest.raises(RuntimeError, match="listen on a:1 by itself: the setting features_listen"):
        feature.add_secure_port("a:1", grpc.local_server_credentials())


async def test_a_heartbeat_of_the_settings_is_beaten_by_the_feature_that_asks_for_it(
    site: Path,
) -> None:
    bring(site, "def mount(feature): feature.beat = feature.heartbeat('heart')")
    checks = {"heart": {"kind": "heartbeat", "max_silence": "1h", "gates": ["readiness"]}}
    async with running(checks=checks) as app:
        app.service.features[0].beat()  # type: ignore[attr-defined]
        await app.becomes(Status.SERVING)
        answer = await app.smoke("naps")
        assert [check.name for check in answer.checks] == ["heart"]

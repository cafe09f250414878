"""A feature that can not be mounted is told in one line that names it, who brings it and why."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from petsage_grpc.errors import PackageError, PetsageError
from petsage_grpc.plane.features import load_features
from petsage_grpc.plane.service import Service
from petsage_grpc.settings_load import load_settings
from tests.packages import write_package
from tests.plane.conftest import NAP_SERVICE, SERVICE, bring

NAPS = "feature naps (petsage-naps)"
PLACE = f"{NAPS}: naps_feature:mount"


def refusal(**settings: Any) -> str:
    """What is said of features that can not be mounted; always one line."""
    with pytest.raises(PetsageError) as caught:
        asyncio.run(Service.hosting(load_settings(environ={}, **settings)))
    assert caught.value.exit_code == 2
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        (
            "import no_such_driver",
            (
                f"{NAPS}: naps_feature can not be imported: ModuleNotFoundError: No module named"
                " 'no_such_driver'; mend or remove petsage-naps"
            ),
        ),
        ("", f"{NAPS}: naps_feature has no mount; mend or remove petsage-naps"),
        ("mount = 3", f"{PLACE} is no function"),
        ("def mount(feature): 1 / 0", f"{PLACE} raised ZeroDivisionError: division by zero"),
        ("def mount(feature): raise SystemExit(0)", f"{PLACE} raised SystemExit: 0"),
        (
            "def mount(feature): raise OSError('pg://me:hunter2@db\\nmore')",
            f"{PLACE} raised OSError: pg://***@db",
        ),
        (
            "def mount(): ...",
            f"{PLACE} raised TypeError: mount() takes 0 positional arguments but 1 was given",
        ),
        ("async def mount(feature): ...", f"{PLACE} is async or yields: make it a plain function"),
        (
            "async def late(feature): ...\ndef mount(feature): return late(feature)",
            f"{PLACE} is async or yields: make it a plain function",
        ),
        ("def mount(feature): yield", f"{PLACE} is async or yields: make it a plain function"),
        (
            "async def mount(feature): yield",
            f"{PLACE} is async or yields: make it a plain function",
        ),
        (
            "def mount(feature): feature.check('bed')(5)",
            f"{PLACE} raised TypeError: check bed is not a function",
        ),
        (
            "def mount(feature): feature.check('bed')(lambda where: None)",
            f"{PLACE} raised TypeError: check bed needs arguments: name one that takes none",
        ),
        (
            "def mount(feature): feature.add_check('bed', object())",
            f"{PLACE} raised TypeError: check bed is no petsage_grpc.Check: object",
        ),
        (
            "def mount(feature): feature.message = 5",
            f"{PLACE} made its message a int: make it a text",
        ),
        (
            "def mount(feature): feature.heartbeat('heart', interval=1)",
            f"{PLACE}: interval: means nothing here, for nobody runs it: set max_silence",
        ),
        (
            "def mount(feature): feature.heartbeat('heart', max_silence=float('inf'))",
            (
                f"{PLACE} raised ValueError: max_silence must be longer than 0, and end: write it"
                ' like "10s"'
            ),
        ),
        (
            (
                "class Bad(Exception):\n    def __str__(self): return 1 / 0\n"
                "def mount(feature): raise Bad"
            ),
            f"{PLACE} raised Bad: it can not be shown",
        ),
        (
            "def mount(feature): feature.check('bed', fall=0)(print)",
            f"{PLACE}: checks.bed.fall: must be at least 1",
        ),
        (
            f"{SERVICE}\ndef mount(feature): put_service_in(feature), put_service_in(feature)",
            f"{PLACE} raised ValueError: {NAP_SERVICE} is put in twice",
        ),
        (
            "def mount(feature): feature.check('disk')(print)",
            f"{NAPS}: there is a check 'disk' already, in the settings: name one of them otherwise",
        ),
    ],
    ids=[
        "no import", "no mount", "no function", "an error", "an exit", "a secret", "no argument",
        "async", "awaitable", "a generator", "async generator", "a number for a function",
        "a function that needs arguments", "an object for a check", "a number for a message",
        "an interval of a heartbeat", "an endless silence", "an error that can not be shown",
        "a wrong policy", "a service twice",
        "a check of the settings",
    ],
)  # fmt: skip
def test_what_can_not_be_mounted_is_told(site: Path, code: str, wrong: str) -> None:
    bring(site, code)
    assert refusal() == wrong


@pytest.mark.parametrize(
    "service",
    [
        "grpc.health.v1.Health", "petsage.v1.SmokeTestService", "liveness", "",
        "grpc.reflection.v1alpha.ServerReflection", "grpc.reflection.v1.ServerReflection",
    ],
)  # fmt: skip
def test_our_own_services_and_names_can_not_be_mounted(site: Path, service: str) -> None:
    bring(site, SERVICE.replace(NAP_SERVICE, service))
    assert refusal() == f"{NAPS}: {service} is served by petsage-grpc already"


def test_two_features_with_one_service_are_told_with_both(site: Path) -> None:
    bring(site, SERVICE)
    bring(site, SERVICE, "dozes", "petsage-dozes")
    assert refusal() == (
        f"{NAPS}: {NAP_SERVICE} is served by feature dozes (petsage-dozes) already"
    )


def test_two_features_with_one_check_are_told_with_both(site: Path) -> None:
    code = "def mount(feature): feature.check('bed')(print)"
    bring(site, code)
    bring(site, code, "dozes", "petsage-dozes")
    assert refusal() == (
        f"{NAPS}: there is a check 'bed' already, in feature dozes (petsage-dozes): name one of"
        " them otherwise"
    )


def test_two_features_of_one_name_are_told_with_both_packages(site: Path) -> None:
    bring(site, "def mount(feature): ...")
    bring(site, "def mount(feature): ...", package="petsage-dozes")
    assert refusal() == (
        "feature naps is brought by both petsage-dozes and petsage-naps: remove it from one of"
        " them, or name it otherwise there"
    )


def test_no_feature_can_be_called_as_the_whole_backend(site: Path) -> None:
    bring(site, "def mount(feature): ...", "smoke_test")
    assert refusal() == (
        "feature smoke_test (petsage-naps): that name stands for the whole backend: name it"
        " otherwise"
    )


def test_nothing_is_mounted_when_a_name_is_wrong(site: Path) -> None:
    bring(site, "def mount(feature): ...", "smoke_test", "petsage-smoke")
    bring(site, "def mount(feature): raise AssertionError('mounted')")
    assert "mounted" not in refusal()


@pytest.mark.parametrize(
    ("named", "mend"), [("nap", "did you mean naps?"), ("orders", "there are: dozes, naps")]
)
def test_settings_of_a_feature_that_is_not_there_are_told(
    site: Path, named: str, mend: str
) -> None:
    bring(site, "def mount(feature): ...")
    bring(site, "def mount(feature): ...", "dozes", "petsage-dozes")
    told = refusal(features={named: {"message": "Hello."}})
    assert told == f"features.{named}: there is no such feature; {mend}"


def test_settings_of_a_feature_are_told_where_there_is_none(site: Path) -> None:
    told = refusal(features={"naps": {}})
    assert told == "features.naps: there is no such feature; there are: none"


def test_a_group_with_a_check_that_no_feature_has_either_is_told(site: Path) -> None:
    bring(site, "def mount(feature): feature.check('bed')(print)")
    told = refusal(groups={"orders": ["bed", "bad"]})
    assert told == "groups.orders: there is no check 'bad'; there are: disk, log, features, bed"


PACKAGE = {
    "myapp_one.features.__init__": "",
    "myapp_one.features.paws": "def mount(feature): ...",
    "myapp_one.features._hidden": "def mount(feature): ...",
    "myapp_one.features.toys.__init__": "def mount(feature): ...",
    "myapp_one.features.toys.inner": "def mount(feature): raise AssertionError('too deep')",
    "myapp_one.features.helpers": "mounting = 1",
    "myapp_one.features.__main__": "raise AssertionError('not meant to be imported')",
}


def test_every_module_of_a_package_that_exposes_mount_is_a_feature(site: Path) -> None:
    write_package(site, "x", PACKAGE)
    settings = load_settings(environ={}, features_package="myapp_one.features")
    features = load_features(settings).features
    assert [str(feature) for feature in features] == [
        "feature _hidden (myapp_one.features)",
        "feature paws (myapp_one.features)",
        "feature toys (myapp_one.features)",
    ]


def test_features_of_the_package_and_of_installed_packages_are_mounted_together(
    site: Path,
) -> None:
    write_package(site, "x", {"myapp_two.paws": "def mount(feature): ..."})
    bring(site, "def mount(feature): ...")
    features = load_features(load_settings(environ={}, features_package="myapp_two")).features
    assert [feature.name for feature in features] == ["naps", "paws"]


def test_a_package_and_an_installed_one_with_one_feature_are_told_with_both(site: Path) -> None:
    write_package(site, "x", {"myapp_three.naps": "def mount(feature): ..."})
    bring(site, "def mount(feature): ...")
    assert refusal(features_package="myapp_three").startswith(
        "feature naps is brought by both petsage-naps and myapp_three:"
    )


@pytest.mark.parametrize(
    ("package", "wrong"),
    [
        (
            "no_such_app.features",
            (
                "features_package: no_such_app.features can not be imported: ModuleNotFoundError:"
                " No module named 'no_such_app'; set PYTHONPATH to where it is, install it, or mend"
                " it"
            ),
        ),
        ("json.decoder", "features_package: json.decoder is a module: name the package around it"),
        (
            ".features",
            (
                "features_package: .features can not be imported: TypeError: the 'package' argument"
                " is required to perform a relative import for '.features'; set PYTHONPATH to where"
                " it is, install it, or mend it"
            ),
        ),
    ],
)
def test_a_package_that_is_none_is_told(site: Path, package: str, wrong: str) -> None:
    assert refusal(features_package=package) == wrong


def test_a_module_of_the_package_that_can_not_be_imported_is_told(site: Path) -> None:
    write_package(site, "x", {"myapp_four.__init__": "", "myapp_four.broken": "1 / 0"})
    assert refusal(features_package="myapp_four") == (
        "feature broken (myapp_four): myapp_four.broken can not be imported: ZeroDivisionError:"
        " division by zero; mend or remove myapp_four"
    )


def test_a_module_of_the_package_whose_mount_fails_is_told(site: Path) -> None:
    write_package(site, "x", {"myapp_five.paws": "def mount(feature): raise KeyError('bed')"})
    assert refusal(features_package="myapp_five") == (
        "feature paws (myapp_five): myapp_five.paws:mount raised KeyError: 'bed'"
    )


def test_the_settings_alone_do_not_mount(site: Path) -> None:
    bring(site, "def mount(feature): raise AssertionError('mounted')")
    load_settings(environ={})
    with pytest.raises(PackageError, match="mounted"):
        load_features(load_settings(environ={}))


HEART = {"heart": {"kind": "heartbeat", "max_silence": "5s", "gates": ["liveness"]}}


def test_a_heartbeat_that_no_feature_beats_is_refused() -> None:
    line = "checks.heart: nobody beats: let a feature call feature.heartbeat('heart'), or remove it"
    assert refusal(checks=HEART) == line


def test_a_heartbeat_that_the_features_there_are_do_not_beat_is_refused(site: Path) -> None:
    bring(site, "def mount(feature): ...")
    assert "checks.heart: nobody beats" in refusal(checks=HEART)


def test_a_heartbeat_can_not_be_another_kind_of_check(site: Path) -> None:
    bring(site, "def mount(feature): feature.heartbeat('disk')")
    told = "ValueError: the settings have a check 'disk', which is no heartbeat"
    assert refusal() == f"{PLACE} raised {told}"


@pytest.mark.parametrize("key", ["interval", "timeout", "edge_interval", "stale_after"])
def test_when_to_run_a_check_that_nobody_runs_is_refused(key: str) -> None:
    checks = {"heart": {"kind": "heartbeat", key: 5}}
    line = f"checks.heart.{key}: means nothing here, for nobody runs it: set max_silence"
    assert refusal(checks=checks) == f"argument {line}"


def test_a_check_of_the_settings_must_not_have_the_name_of_the_loops_heartbeat(site: Path) -> None:
    bring(site, "def mount(feature): ...")
    assert refusal(checks={"features": {"kind": "disk"}}) == (
        "checks.features: the heartbeat of the features' loop has this name: name it otherwise"
    )


def test_a_check_of_a_feature_must_not_have_the_name_of_the_loops_heartbeat(site: Path) -> None:
    bring(site, "def mount(feature): feature.check('features')(print)")
    assert refusal() == (
        f"{NAPS}: there is a check 'features' already, in petsage-grpc: name one of them otherwise"
    )

"""Kinds are found by name, those of installed packages too; one that can not work is told."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from petsage_grpc.checks import KINDS, UnknownKindError, kind_names, kind_of, load_kind
from petsage_grpc.checks.disk import DiskCheck
from petsage_grpc.core.check import Check
from petsage_grpc.errors import PackageError
from petsage_grpc.settings_load import fields_of, load_settings
from tests.packages import KIND, importable, write_package


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    with importable(tmp_path / "site") as folder:
        yield folder


def refusal(kind: str) -> str:
    with pytest.raises(PackageError) as caught:
        load_kind(kind)
    return str(caught.value)


def test_without_packages_there_are_our_own_kinds(site: Path) -> None:
    assert kind_names() == list(KINDS)


def test_a_kind_of_a_package_stands_beside_our_own(site: Path) -> None:
    write_package(site, "petsage-one", {"one_kind": KIND}, checks={"one": "one_kind:Kind"})
    assert kind_names() == [*KINDS, "one"]
    cls = load_kind("one")
    assert issubclass(cls, Check)
    assert [name for name, *_ in fields_of(cls)] == ["failing"]


def test_an_unknown_kind_is_told_by_its_name() -> None:
    with pytest.raises(UnknownKindError, match="bowl"):
        load_kind("bowl")


def test_two_kinds_of_one_name_are_told_with_both_packages(site: Path) -> None:
    for package in ("petsage-one", "petsage-two"):
        write_package(site, package, {}, checks={"both": "m:Kind"})
    assert refusal("other") == (
        "kind both is brought by both petsage-one and petsage-two: remove petsage-two, or have it"
        " use another name"
    )


def test_a_kind_with_the_name_of_one_of_ours_is_told(site: Path) -> None:
    write_package(site, "petsage-one", {}, checks={"disk": "m:Kind"})
    assert "kind disk is brought by both petsage-grpc and petsage-one:" in refusal("other")
    assert load_kind("disk") is DiskCheck


@pytest.mark.parametrize(
    ("value", "code", "wrong"),
    [
        ("bad_kind:Kind", "Kind = 3", "bad_kind:Kind is no subclass of petsage_grpc.Check"),
        ("bad_kind:Kind", "class Kind: ...", "bad_kind:Kind is no subclass of petsage_grpc.Check"),
        ("bad_kind", "", "bad_kind is no subclass of petsage_grpc.Check"),
        (
            "bad_kind:Kind",
            "from petsage_grpc import Check\nclass Kind(Check): ...",
            (
                "bad_kind:Kind is no dataclass, so its settings are not known: put"
                " @dataclass(kw_only=True) on it"
            ),
        ),
        (
            "bad_kind:Kind",
            KIND.replace("async def run", "async def walk"),
            "bad_kind:Kind has no method run",
        ),
        ("bad_kind:Other", KIND, "bad_kind has no Other; mend or remove petsage-bad"),
        (
            "bad_kind:Kind",
            "import no_such_driver",
            (
                "bad_kind can not be imported: ModuleNotFoundError: No module named"
                " 'no_such_driver'; mend or remove petsage-bad"
            ),
        ),
    ],
    ids=[
        "no class",
        "no check",
        "a module",
        "no dataclass",
        "no run",
        "no such class",
        "no import",
    ],
)
def test_what_is_no_kind_is_told_with_its_package(
    site: Path, value: str, code: str, wrong: str
) -> None:
    write_package(site, "petsage-bad", {"bad_kind": code}, checks={"bad": value})
    assert refusal("bad") == f"kind bad (petsage-bad): {wrong}"
    with pytest.raises(PackageError, match=r"^kind bad"):
        load_settings(environ={})


@pytest.mark.parametrize(
    ("hint", "wrong"),
    [
        ("list[str]", "the type of failing can not be had from TOML: use str, int, "),
        ("tuple[str, int]", "the type of failing can not be had from TOML: use str, int, "),
        ("'dict[int, str]'", "the type of failing can not be had from TOML: use str, int, "),
        ("'Missing'", "NameError: name 'Missing' is not defined"),
    ],
)
def test_settings_that_no_file_can_hold_are_told_at_the_start(
    site: Path, hint: str, wrong: str
) -> None:
    code = KIND.replace("failing: bool", f"failing: {hint}")
    write_package(site, "petsage-bad", {"bad_kind": code}, checks={"bad": "bad_kind:Kind"})
    with pytest.raises(PackageError) as caught:
        load_settings(environ={})
    assert str(caught.value).startswith(f"kind bad (petsage-bad): Kind: {wrong}")


@pytest.mark.parametrize(
    "hint", ["str", "tuple[str, ...]", "Mapping[str, float]", "Duration | None", "Size"]
)
def test_settings_of_every_type_that_a_file_can_hold_are_right(site: Path, hint: str) -> None:
    code = KIND.replace("failing: bool", f"failing: {hint}").replace(
        "import Check,", "import Duration, Size, Check,"
    )
    code = f"from collections.abc import Mapping\n{code}"
    write_package(site, "petsage-one", {"one_kind": code}, checks={"one": "one_kind:Kind"})
    load_settings(environ={})


def test_a_kind_that_fails_on_its_settings_is_told_with_its_check(
    site: Path, tmp_path: Path
) -> None:
    code = KIND + "\n    def __post_init__(self) -> None:\n        [][1]\n"
    write_package(site, "petsage-one", {"one_kind": code}, checks={"one": "one_kind:Kind"})
    file = tmp_path / "petsage.toml"
    file.write_text("[checks.a]\nkind = 'one'")
    with pytest.raises(Exception, match="the kind") as caught:
        load_settings(file, environ={})
    assert str(caught.value) == (
        f"{file}: checks.a: the kind 'one' fails: IndexError: list index out of range"
    )


def test_the_kind_of_a_check_is_known_by_its_class(site: Path) -> None:
    write_package(site, "petsage-one", {"one_kind": KIND}, checks={"one": "one_kind:Kind"})
    assert kind_of(DiskCheck()) == "disk"
    assert kind_of(load_kind("one")()) == "one"

    class Nap(Check):
        async def run(self) -> None:
            """Pass."""

    assert kind_of(Nap()) == "Nap"

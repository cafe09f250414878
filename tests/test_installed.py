"""What installed packages bring is found as importlib.metadata finds it, only sooner."""

import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from petsage_grpc import installed
from petsage_grpc.errors import PackageError
from petsage_grpc.installed import CHECKS, FEATURES, EntryPoint, describe_error
from tests.packages import importable, write_package


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    with importable(tmp_path / "site") as folder:
        yield folder


def names(group: str = CHECKS) -> list[str]:
    return [entry.name for entry in installed.installed(group)]


def test_nothing_is_found_where_nothing_is_installed(site: Path) -> None:
    assert names(CHECKS) == names(FEATURES) == []


def test_each_group_has_its_entry_points_in_the_order_of_their_names(site: Path) -> None:
    checks = {"b": "one.b:B", "a": "one.a:Outer.Inner"}
    write_package(site, "petsage-one", {}, checks=checks, features={"f": "one"})
    assert installed.installed(CHECKS) == (
        EntryPoint("a", "one.a", "Outer.Inner", "petsage-one"),
        EntryPoint("b", "one.b", "B", "petsage-one"),
    )
    assert installed.installed(FEATURES) == (EntryPoint("f", "one", "", "petsage-one"),)


def test_entry_points_are_read_as_importlib_metadata_reads_them(site: Path) -> None:
    metadata = write_package(site, "petsage-one", {})
    (metadata / "entry_points.txt").write_text(
        "# a comment\n[console_scripts]\nx = y:z\n\n  [petsage_grpc.checks]  \n"
        "a=m:A\n# b = m:B\n  c  =  m.n : C  \n d = m:D [extra]\n[other]\ne = m:E\n"
        "[petsage_grpc.features]\r\nf = m\r\n"
    )
    installed._find.cache_clear()
    for group in (CHECKS, FEATURES):
        theirs = importlib.metadata.entry_points(group=group)
        ours = {(entry.name, entry.module, entry.attribute) for entry in installed.installed(group)}
        assert ours == {(entry.name, entry.module, entry.attr or "") for entry in theirs}
        assert ours


def test_of_a_package_that_is_installed_twice_the_one_that_is_imported_counts(
    site: Path, tmp_path: Path
) -> None:
    with importable(tmp_path / "behind") as behind:
        sys.path.remove(str(behind))
        sys.path.append(str(behind))
        write_package(behind, "Petsage.One", {}, checks={"old": "m:K"})
        write_package(behind, "petsage-two", {}, checks={"two": "m:K"})
        write_package(site, "petsage-one", {}, checks={"new": "m:K"}, version="2")
        assert names() == ["new", "two"]
        write_package(site, "petsage-one", {}, version="2")
        (site / "petsage_one-2.dist-info" / "entry_points.txt").unlink()
        installed._find.cache_clear()
        assert names() == ["two"]


def test_a_package_in_development_is_found_by_its_egg_info(site: Path) -> None:
    metadata = write_package(site, "petsage-one", {}, checks={"a": "m:K"})
    metadata.joinpath("METADATA").rename(metadata / "PKG-INFO")
    metadata.rename(site / "petsage_one.egg-info")
    installed._find.cache_clear()
    assert installed.installed(CHECKS) == (EntryPoint("a", "m", "K", "petsage-one"),)


def test_what_an_installer_could_not_remove_is_gone_all_the_same(site: Path) -> None:
    metadata = write_package(site, "petsage-one", {}, checks={"a": "m:K"})
    metadata.rename(site / "~etsage_one-1.dist-info")
    installed._find.cache_clear()
    assert names() == []


def test_a_package_without_its_name_goes_by_that_of_its_folder(site: Path) -> None:
    metadata = write_package(site, "petsage-one", {}, checks={"a": "m:K"})
    (metadata / "METADATA").unlink()
    installed._find.cache_clear()
    assert [entry.package for entry in installed.installed(CHECKS)] == ["petsage_one"]


def test_places_that_are_no_folders_are_passed_over(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_package(site, "petsage-one", {}, checks={"a": "m:K"})
    (tmp_path / "file").touch()
    for place in (str(tmp_path / "file"), str(tmp_path / "none")):
        monkeypatch.syspath_prepend(place)
    assert names() == ["a"]


def test_a_place_named_in_python_as_the_current_folder_is_looked_at(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_package(site, "petsage-one", {}, checks={"a": "m:K"})
    monkeypatch.setattr(sys, "path", [""])
    monkeypatch.chdir(site)
    assert installed.installed(CHECKS) == (EntryPoint("a", "m", "K", "petsage-one"),)


def test_what_is_meant_in_a_module_is_loaded(site: Path) -> None:
    write_package(site, "petsage-one", {"one_m": "class A:\n    class B: ...\nmount = 3"})
    assert EntryPoint("a", "one_m", "A.B", "petsage-one").load("kind a").__qualname__ == "A.B"
    assert EntryPoint("a", "one_m", "", "petsage-one").load("feature a", "mount") == 3
    assert EntryPoint("a", "one_m", "", "petsage-one").load("feature a").__name__ == "one_m"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import no_such_driver", "ModuleNotFoundError: No module named 'no_such_driver'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def f(:", "SyntaxError: invalid syntax (one_broken.py, line 1)"),
        ("raise SystemExit('no licence')", "SystemExit: no licence"),
        ("raise RuntimeError('first\\nsecond')", "RuntimeError: first"),
        ("raise RuntimeError", "RuntimeError"),
    ],
)
def test_a_module_that_can_not_be_imported_is_told_in_one_line(
    site: Path, code: str, error: str
) -> None:
    write_package(site, "petsage-one", {"one_broken": code})
    with pytest.raises(PackageError) as caught:
        EntryPoint("a", "one_broken", "A", "petsage-one").load("kind a")
    assert str(caught.value) == (
        f"kind a (petsage-one): one_broken can not be imported: {error}; mend or remove petsage-one"
    )
    assert caught.value.exit_code == 2


def test_something_that_a_module_does_not_have_is_told_in_one_line(site: Path) -> None:
    write_package(site, "petsage-one", {"one_empty": ""})
    with pytest.raises(PackageError) as caught:
        EntryPoint("a", "one_empty", "A.B", "petsage-one").load("kind a")
    assert str(caught.value) == (
        "kind a (petsage-one): one_empty has no A.B; mend or remove petsage-one"
    )


def test_an_error_is_described_in_one_line_without_passwords() -> None:
    error = ValueError("no\tpg://me:hunter2@db/x\nmore")
    assert describe_error(error) == "ValueError: no\\tpg://***@db/x"
    assert len(describe_error(ValueError("x" * 10_000))) < 600


def test_it_costs_no_import_of_importlib_metadata() -> None:
    code = (
        "import sys; from petsage_grpc.checks import brought_kinds; brought_kinds();"
        " sys.exit('importlib.metadata' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

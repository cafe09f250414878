"""Files that are named from the working directory are found wherever the application goes."""

from pathlib import Path

import pytest

from petsage_grpc.settings_load import load_with_table
from petsage_grpc.settings_paths import _LONGEST_SOCKET
from petsage_grpc.settings_references import Text
from tests.certificates import Authority

TOKEN = "0123456789abcdef"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a file of tokens."""
    monkeypatch.chdir(tmp_path)
    Path("tokens").write_text(TOKEN)
    return tmp_path


def test_files_and_sockets_are_where_they_were_when_they_were_named(here: Path) -> None:
    authority = Authority()
    whole = (*authority.pair().write(here, "server"), authority.write(here, "ca"))
    given = {
        key: Path(path).name
        for key, path in zip(("tls_cert", "tls_key", "tls_client_ca"), whole, strict=True)
    }
    settings, table = load_with_table(
        environ={}, listen="unix:health.sock", probe_listen="unix://probe.sock",
        token_files="tokens", **given,
    )  # fmt: skip
    assert (settings.tls_cert, settings.tls_key, settings.tls_client_ca) == whole
    assert settings.token_files == (str(here / "tokens"),)
    assert settings.listen == (f"unix:{here}/health.sock",)
    assert settings.probe_listen == (f"unix:{here}/probe.sock",)
    assert {key: table[key] for key in given} == dict(zip(given, whole, strict=True))


def test_what_a_reference_stands_for_is_shown_as_it_was_written(here: Path) -> None:
    Path("petsage.toml").write_text('token_files = ["${WHERE}"]')
    settings, table = load_with_table("petsage.toml", environ={"WHERE": "tokens"})
    (path,) = settings.token_files
    assert path == str(here / "tokens")
    assert isinstance(path, Text)
    assert repr(path) == "'${WHERE}'"
    assert table["token_files"] == (path,)


def test_a_socket_whose_whole_path_is_too_long_stays_as_it_is(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = here / ("d" * _LONGEST_SOCKET)
    deep.mkdir()
    monkeypatch.chdir(deep)
    settings, _ = load_with_table(environ={}, listen="unix:health.sock")
    assert settings.listen == ("unix:health.sock",)


def test_names_that_are_whole_and_a_directory_that_is_gone_change_nothing(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = here / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    listens = ("unix:///run/petsage.sock", "127.0.0.1:50051")
    settings, table = load_with_table(environ={}, listen=[*listens, "unix:health.sock"])
    assert settings.listen == (*listens, "unix:health.sock")
    assert table["listen"] == [*settings.listen]

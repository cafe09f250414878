"""Token files and names of certificates: a mistake is said in one line, without a token."""

from pathlib import Path

import pytest

from petsage_grpc.settings_load import load_settings
from petsage_grpc.settings_tokens import access_risks, parse_tokens
from tests.settings.conftest import named, refusal

TOKEN = "0123456789abcdef"
MAKE_ONE = "openssl rand -hex 32 makes one"
NO_TOKEN = f"write letters, digits and signs of ASCII, without spaces; {MAKE_ONE}"


@pytest.fixture
def tokens(file: Path) -> Path:
    """A file beside the settings, which name it."""
    path = file.with_name("tokens")
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    file.write_text(f"token_files = ['{path.absolute()}']")
    return path.absolute()


def test_a_file_with_tokens_is_taken(file: Path, tokens: Path) -> None:
    settings = load_settings(file, environ={})
    assert settings.token_files == (str(tokens),)
    assert [*access_risks(settings)] == []


@pytest.mark.parametrize(
    ("content", "wrong"),
    named(
        ("empty", b"", f"has no token in it: write one in each line; {MAKE_ONE}"),
        ("blank", b"\n \t\r\n", f"has no token in it: write one in each line; {MAKE_ONE}"),
        (
            "short",
            f"{TOKEN}\nhunter2\n".encode(),
            f"line 2 has 7 characters, and a token from 16 to 4096; {MAKE_ONE}",
        ),
        (
            "long",
            b"x" * 4097,
            f"line 1 has 4097 characters, and a token from 16 to 4096; {MAKE_ONE}",
        ),
        ("in two words", b"Bearer 0123456789abcdef", f"line 1 is no token: {NO_TOKEN}"),
        ("not ASCII", "hunter2-hünter2-hunter2".encode(), f"line 1 is no token: {NO_TOKEN}"),
        ("not UTF-8", b"\xff" * 20, "line 1 is not UTF-8: save the file as UTF-8"),
        ("not text", b"0123456789\0abcdefgh", f"line 1 is no token: {NO_TOKEN}"),
        (
            "too many",
            b"".join(b"0123456789abcd%04d\n" % n for n in range(1001)),
            "has more than 1000 tokens: remove those that nobody uses",
        ),
    ),
)
def test_a_file_without_good_tokens_is_refused(
    file: Path, tokens: Path, content: bytes, wrong: str
) -> None:
    tokens.write_bytes(content)
    assert refusal(file) == f"{file}: token_files: {str(tokens)!r} {wrong}"


def test_what_is_no_file_is_refused(file: Path, tokens: Path) -> None:
    tokens.unlink()
    assert refusal(file) == (
        f"{file}: token_files: {str(tokens)!r} can not be read: No such file or directory;"
        " name a file that this user can read"
    )
    tokens.mkdir()
    assert refusal(file) == (
        f"{file}: token_files: {str(tokens)!r} is no file:"
        " it must be one that can be read again and again"
    )


@pytest.mark.parametrize("token", [TOKEN, f"{TOKEN}/{TOKEN}", "x" * 5000, "/" + TOKEN])
def test_a_token_in_place_of_a_file_is_not_shown(file: Path, tmp_path: Path, token: str) -> None:
    line = refusal(None, {"PETSAGE_TOKEN_FILES": token})
    assert line.startswith("PETSAGE_TOKEN_FILES: ")
    assert "can not be read" in line
    assert token.strip("/") not in line
    (tmp_path / "secret").write_text(token)
    file.write_text("token_files = ['${file:secret}']")
    line = refusal(file)
    assert line.startswith(f"{file}: token_files: '${{file:secret}}' can not be read")
    assert token.strip("/") not in line


def test_each_token_counts_once_and_without_the_space_around_it() -> None:
    assert parse_tokens(f"\n {TOKEN}\t\r\n{TOKEN}\nx{TOKEN}") == (TOKEN, f"x{TOKEN}")


@pytest.mark.parametrize("name", ["", " client", "client\n"])
def test_what_no_certificate_can_be_named_is_refused(file: Path, name: str) -> None:
    file.write_text(f"client_names = ['ok.example', {name!r}]".replace("'", '"'))
    assert refusal(file) == (
        f"{file}: client_names: {name!r} is no name of a certificate: write it like"
        ' "client.example", "spiffe://example/client" or "monitoring"'
    )


@pytest.mark.parametrize(
    ("text", "risk"),
    [
        (
            "client_names = ['client.example']",
            "client_names: no client shows a certificate, for tls_client_ca is not set",
        ),
        (
            "client_names = ['client.example']\ndetails = 'never'",
            'client_names: of no use, for details = "never"',
        ),
        (
            "token_files = ['tokens']\nclient_names = ['client.example']\ndetails = 'always'",
            'token_files and client_names: of no use, for details = "always"',
        ),
    ],
)
def test_what_is_of_no_use_is_told(file: Path, tokens: Path, text: str, risk: str) -> None:
    file.write_text(text)
    assert [*access_risks(load_settings(file, environ={}))] == [risk]
    assert tokens.exists()


def test_a_file_that_everybody_can_read_is_told(file: Path, tokens: Path) -> None:
    tokens.chmod(0o644)
    (risk,) = access_risks(load_settings(file, environ={}))
    assert risk.startswith(f"token_files: everybody on this machine can read {str(tokens)!r}: ")

"""The settings of TLS that kinds share: looked at when they are loaded, and renewed on disk."""

import os
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from petsage_grpc.checks.tcp import TcpCheck
from petsage_grpc.core.check import CheckFailedError
from tests import faults
from tests.checks.conftest import TlsFiles, failure_of, passes

NAME_IT = "name a file that this user can read"
PEM = "name a file in PEM form"


def checked(**settings: Any) -> TcpCheck:
    return TcpCheck(address="ledger:5000", tls=True, **settings)


def refusal(**settings: Any) -> str:
    with pytest.raises(ValueError, match=r"^tls_\w+: .") as refused:
        checked(**settings)
    return str(refused.value)


def pair(files: TlsFiles, **changed: Path) -> dict[str, str]:
    given = {"tls_client_cert": files.certificate, "tls_client_key": files.key} | changed
    return {name: str(path) for name, path in given.items()}


@pytest.mark.parametrize(
    "setting", ["tls_ca_cert", "tls_client_cert", "tls_client_key", "tls_server_name"]
)
def test_what_means_nothing_without_tls_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match=r"means nothing without TLS: set tls = true$") as refused:
        TcpCheck(address="ledger:5000", **{setting: "x"})  # type: ignore[arg-type]
    assert str(refused.value).startswith(f"{setting}: ")


def test_an_authority_that_would_not_be_asked_is_refused(tls_files: TlsFiles) -> None:
    assert refusal(tls_ca_cert=str(tls_files.ca), tls_no_verify=True) == (
        "tls_no_verify: contradicts tls_ca_cert: leave one of them out"
    )


def test_half_a_pair_is_refused(tls_files: TlsFiles) -> None:
    assert refusal(tls_client_cert=str(tls_files.certificate)) == (
        "tls_client_cert: needs tls_client_key too: set both"
    )
    assert refusal(tls_client_key=str(tls_files.key)) == (
        "tls_client_key: needs tls_client_cert too: set both"
    )


@pytest.mark.parametrize("name", ["a b", ".ledger", "a..b", "a" * 64, "a\nb"])
def test_a_name_that_no_server_can_have_is_refused(name: str) -> None:
    assert refusal(tls_server_name=name) == (
        f'tls_server_name: no server is called {name!r}: write it like "db.example.com"'
    )
    checked(tls_server_name="bücher.example")


def test_a_file_that_can_not_be_read_is_refused(tls_files: TlsFiles, tmp_path: Path) -> None:
    gone = tmp_path / "gone.pem"
    why = f"'{gone}' can not be read: No such file or directory: {NAME_IT}"
    assert refusal(tls_ca_cert=str(gone)) == f"tls_ca_cert: {why}"
    assert refusal(**pair(tls_files, tls_client_cert=gone)) == f"tls_client_cert: {why}"
    assert refusal(**pair(tls_files, tls_client_key=gone)) == f"tls_client_key: {why}"
    assert refusal(tls_ca_cert="a\0b") == (
        f"tls_ca_cert: 'a\\x00b' can not be read: embedded null byte: {NAME_IT}"
    )


def test_a_file_without_what_it_must_hold_is_refused(tls_files: TlsFiles, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(ssl.PEM_cert_to_DER_cert(tls_files.ca.read_text()))
    assert refusal(tls_ca_cert=str(other)) == f"tls_ca_cert: '{other}' holds no certificate: {PEM}"
    assert refusal(**pair(tls_files, tls_client_cert=other)) == (
        f"tls_client_cert: '{other}' holds no certificate: {PEM}"
    )
    assert refusal(**pair(tls_files, tls_client_key=tls_files.ca)) == (
        f"tls_client_key: '{tls_files.ca}' holds no private key: {PEM}"
    )
    for no_file in (tmp_path, Path(os.devnull)):
        assert refusal(tls_ca_cert=str(no_file)) == (
            f"tls_ca_cert: '{no_file}' holds no certificate: {PEM}"
        )
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert refusal(tls_ca_cert=str(pipe)) == f"tls_ca_cert: '{pipe}' holds no certificate: {PEM}"


def test_a_file_that_is_broken_is_refused(tls_files: TlsFiles, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text(tls_files.ca.read_text().replace("MII", "XXX", 1))
    assert refusal(tls_ca_cert=str(broken)) == f"tls_ca_cert: '{broken}' is broken: {PEM}"
    broken.write_text(tls_files.key.read_text().replace("M", "X"))
    assert refusal(**pair(tls_files, tls_client_key=broken)) == (
        f"tls_client_key: '{broken}' or the certificate is broken, or has a password: {PEM}"
    )


def test_a_key_with_a_password_is_refused_without_asking_for_it(
    tls_files: TlsFiles, tmp_path: Path
) -> None:
    key = serialization.load_pem_private_key(tls_files.key.read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"password"),
        )
    )
    assert refusal(**pair(tls_files, tls_client_key=locked)) == (
        f"tls_client_key: '{locked}' or the certificate is broken, or has a password: {PEM}"
    )


def test_a_key_of_another_certificate_is_refused(tls_files: TlsFiles, tmp_path: Path) -> None:
    key = tmp_path / "other.key"
    faults.authority().issue_cert("x").private_key_pem.write_to_path(key)
    assert refusal(**pair(tls_files, tls_client_key=key)) == (
        f"tls_client_key: '{key}' does not belong to the certificate: name its key"
    )


def test_a_certificate_and_its_key_can_stand_in_one_file(
    tls_files: TlsFiles, tmp_path: Path
) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(tls_files.key.read_bytes() + tls_files.certificate.read_bytes())
    checked(tls_client_cert=str(both), tls_client_key=str(both))


def test_nothing_older_than_tls_1_2_is_spoken(tls_files: TlsFiles) -> None:
    context = checked(tls_ca_cert=str(tls_files.ca)).ssl_context()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_the_authorities_of_the_system_are_trusted_if_no_other_is_named() -> None:
    ours, theirs = checked().ssl_context(), ssl.create_default_context()
    assert ours.cert_store_stats() == theirs.cert_store_stats()


async def test_a_servers_own_certificate_can_be_what_is_trusted(
    tls_files: TlsFiles, tmp_path: Path
) -> None:
    own = tmp_path / "own.pem"
    own.write_bytes(tls_files.certificate.read_bytes())
    with faults.speaking(tls=faults.server_tls(tmp_path)) as port:
        own.write_bytes((tmp_path / "server.pem").read_bytes())
        await passes(TcpCheck(address=f"localhost:{port}", tls=True, tls_ca_cert=str(own)))


async def test_files_that_are_renewed_are_used_from_the_next_run_on(tmp_path: Path) -> None:
    """As Kubernetes renews them: what the link points to is another directory at once."""
    ours, theirs = trustme.CA(), faults.authority()
    for name, authority in (("old", ours), ("new", theirs)):
        (tmp_path / name).mkdir()
        authority.cert_pem.write_to_path(tmp_path / name / "ca.pem")
    link = tmp_path / "current"
    link.symlink_to("old")
    with faults.speaking(tls=faults.server_tls(tmp_path)) as port:
        check = TcpCheck(address=f"localhost:{port}", tls=True, tls_ca_cert=str(link / "ca.pem"))
        assert "is not trusted" in await failure_of(check)
        link.unlink()
        link.symlink_to("new")
        await passes(check)
        kept = check.ssl_context()
        assert check.ssl_context() is kept, "it is not loaded anew for nothing"
        link.unlink()
        assert await failure_of(check) == (
            f"tls_ca_cert: '{link}/ca.pem' can not be read: No such file or directory: {NAME_IT}"
        )
        link.symlink_to("new")
        await passes(check)


def test_a_file_that_breaks_while_the_check_lives_is_told_by_the_run(tmp_path: Path) -> None:
    authority = faults.write_authority(tmp_path)
    check = checked(tls_ca_cert=str(authority))
    authority.write_text("nothing")
    with pytest.raises(CheckFailedError, match="holds no certificate: name a file in PEM form"):
        check.ssl_context()

"""The files of the server's TLS, and what is said of those that can not be used."""

import codecs
import datetime
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from petsage_grpc.errors import SettingsError
from petsage_grpc.settings import Settings
from petsage_grpc.settings_load import load_settings
from petsage_grpc.settings_tls import MAX_TLS_FILE, load_tls
from tests.certificates import DAY, Authority, Pair
from tests.processes import run, settings_file

PEM = "name a file in PEM form"
_NAMES = x509.ObjectIdentifier("2.5.29.17")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> dict[str, str]:
    """Settings that are right, as a test may spoil them."""
    cert, key = authority.pair().write(tmp_path, "server")
    return {"tls_cert": cert, "tls_key": key, "tls_client_ca": authority.write(tmp_path, "ca")}


def load(**given: Any) -> Settings:
    return load_settings(environ={}, checks={}, **given)


def refused(**given: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        load(**given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def self_signed(
    key: Any,
    usage: x509.ObjectIdentifier | None = None,
    name: bytes | None = None,
    *,
    ca: bool = False,
) -> Pair:
    now = datetime.datetime.now(datetime.UTC)
    me = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "me")])
    builder = (
        x509.CertificateBuilder().subject_name(me).issuer_name(me)
        .public_key(key.public_key()).serial_number(1)
        .not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    )  # fmt: skip
    if usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    if ca:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
    if name is not None:
        host = bytes([0x82, len(name)]) + name  # in DER, as no library would write it
        names = x509.UnrecognizedExtension(_NAMES, bytes([0x30, len(host)]) + host)
        builder = builder.add_extension(names, critical=False)
    sign = None if isinstance(key, ed448.Ed448PrivateKey) else hashes.SHA256()
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return Pair(
        builder.sign(key, sign).public_bytes(pem),
        key.private_bytes(pem, form, serialization.NoEncryption()),
    )


def test_files_that_are_right_are_taken(files: dict[str, str]) -> None:
    assert load(**files, probe_listen="127.0.0.1:0").tls_cert == files["tls_cert"]


def test_it_is_known_for_whom_a_certificate_is_and_how_long(
    authority: Authority, tmp_path: Path
) -> None:
    pair = authority.pair("*.example.com", "127.0.0.1", "::1", days=30, old=60)
    _, certificate = load_tls(*pair.write(tmp_path, "server"), "")
    assert certificate.names == ("*.example.com", "127.0.0.1", "::1")
    assert certificate.ends - certificate.begins == pytest.approx(90 * DAY, abs=2)


def test_an_expired_certificate_is_no_error_for_the_clock_may_be_wrong(
    authority: Authority, tmp_path: Path
) -> None:
    cert, key = authority.pair(days=-1).write(tmp_path, "old")
    assert load(tls_cert=cert, tls_key=key).tls_cert == cert


def test_certificate_and_key_can_stand_in_one_file(authority: Authority, tmp_path: Path) -> None:
    pair, both = authority.pair(), tmp_path / "both.pem"
    both.write_bytes(b"of the server\n" + pair.key + pair.cert)
    load(tls_cert=str(both), tls_key=str(both))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["tls_cert"], "argument tls_cert: needs tls_key too: set both"),
        (["tls_key"], "argument tls_key: needs tls_cert too: set both"),
        (["tls_client_ca"],
         "argument tls_client_ca: means nothing without TLS: set tls_cert and tls_key"),
    ],
)  # fmt: skip
def test_one_without_the_other_is_refused(
    files: dict[str, str], given: list[str], message: str
) -> None:
    assert refused(**{key: files[key] for key in given}) == message


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("key", ["tls_cert", "tls_key", "tls_client_ca"])
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (Path.unlink, "can not be read: No such file or directory: name a file that this user can"),
        (lambda path: path.write_text("nothing"), "holds no "),
        (lambda path: path.write_bytes(b"\0" * (MAX_TLS_FILE + 1)), "is longer than 1048576 bytes"),
        (_pipe, "is no file"),
        (lambda path: (path.unlink(), path.mkdir()), "is no file"),
        (lambda path: path.write_text(path.read_text().replace("M", "?", 9)), "is broken"),
    ],
    ids=["missing", "no PEM", "too long", "a pipe", "a directory", "broken"],
)  # fmt: skip
def test_a_file_that_can_not_be_used_is_named_with_the_reason(
    files: dict[str, str], key: str, spoil: Any, said: str
) -> None:
    spoil(Path(files[key]))
    message = refused(**files)
    assert message.startswith(f"argument {key}: {files[key]!r} {said}")
    assert "name a file" in message


def test_a_mark_of_the_byte_order_is_no_part_of_a_file(files: dict[str, str]) -> None:
    for path in map(Path, files.values()):
        path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    loaded, _ = load_tls(files["tls_cert"], files["tls_key"], files["tls_client_ca"])
    assert loaded.cert.startswith(b"-----BEGIN CERTIFICATE-----")


def test_a_form_that_only_openssl_reads_is_refused(files: dict[str, str]) -> None:
    path = Path(files["tls_cert"])
    path.write_text(path.read_text().replace(" CERTIFICATE", " TRUSTED CERTIFICATE"))
    assert refused(**files) == (
        f"argument tls_cert: '{path}' is in a form that OpenSSL alone knows:"
        f" write it as others do, with openssl x509 -in {path}"
    )


@pytest.mark.parametrize("part", [0.3, 0.7])
def test_half_a_certificate_is_not_blamed_on_the_key(files: dict[str, str], part: float) -> None:
    path = Path(files["tls_cert"])
    whole = path.read_text()
    path.write_text(whole[: int(part * len(whole))])
    assert refused(**files).startswith(f"argument tls_cert: {files['tls_cert']!r} is broken")


def test_a_path_that_can_be_none_is_refused(files: dict[str, str]) -> None:
    assert "can not be read" in refused(**files | {"tls_key": "a\0b"})


def test_a_key_of_another_certificate_is_refused(
    authority: Authority, files: dict[str, str], tmp_path: Path
) -> None:
    _, other = authority.pair().write(tmp_path, "other")
    assert refused(**files | {"tls_key": other}) == (
        f"argument tls_key: {other!r} does not belong to {files['tls_cert']!r}:"
        " name the key that the first certificate in tls_cert was made for"
    )


def test_a_key_of_another_kind_is_refused(files: dict[str, str], tmp_path: Path) -> None:
    _, other = self_signed(rsa.generate_private_key(65537, 2048)).write(tmp_path, "rsa")
    assert "does not belong to" in refused(**files | {"tls_key": other})


@pytest.mark.parametrize("how", [["-aes256"], ["-aes256", "-traditional"]])
def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(
    files: dict[str, str], how: list[str], tmp_path: Path
) -> None:
    locked = str(tmp_path / "locked.pem")
    subprocess.run(
        ["openssl", "pkey", "-in", files["tls_key"], *how, "-passout", "pass:x", "-out", locked],
        check=True, capture_output=True,
    )  # fmt: skip
    message = refused(**files | {"tls_key": locked})
    assert message.startswith(f"argument tls_key: {locked!r} has a password")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: self_signed(rsa.generate_private_key(65537, 1024)), "is not safe (EE_KEY_TOO_SM"),
        (lambda: self_signed(ec.generate_private_key(ec.SECP256K1())), "does not work ("),
        (lambda: self_signed(ec.generate_private_key(ec.SECP256R1()), name=b"bad\xff.example"),
         "has a name that is not UTF-8: have it issued anew"),
        (lambda: self_signed(ed448.Ed448PrivateKey.generate()), "does not work ("),
        (lambda: self_signed(ec.generate_private_key(ec.SECP256R1()),
                             ExtendedKeyUsageOID.CLIENT_AUTH),
         "is not for servers: have it issued with the extended key usage serverAuth"),
    ],
    ids=["small", "unknown curve", "strange name", "unknown kind", "for clients"],
)  # fmt: skip
def test_a_certificate_that_clients_could_not_use_is_refused(
    make: Any, said: str, tmp_path: Path
) -> None:
    cert, key = make().write(tmp_path, "it")
    message = refused(tls_cert=cert, tls_key=key)
    assert message.startswith(f"argument tls_cert: {cert!r} {said}")


def test_an_authority_with_a_name_that_can_not_be_read_is_refused(
    files: dict[str, str], tmp_path: Path
) -> None:
    pair = self_signed(ec.generate_private_key(ec.SECP256R1()), name=b"bad\xff.example", ca=True)
    cert, _ = pair.write(tmp_path, "strange")
    assert refused(**files | {"tls_client_ca": cert}) == (
        f"argument tls_client_ca: {cert!r} has a name that is not UTF-8: have it issued anew"
    )


def test_a_name_with_a_line_break_makes_no_second_line(tmp_path: Path) -> None:
    pair = self_signed(ec.generate_private_key(ec.SECP256R1()), name=b"a\nERROR b")
    _, certificate = load_tls(*pair.write(tmp_path, "it"), "")
    assert certificate.names == ("a\\nERROR b",)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_usual_curves_are_taken(curve: ec.EllipticCurve, tmp_path: Path) -> None:
    cert, key = self_signed(ec.generate_private_key(curve)).write(tmp_path, "it")
    load(tls_cert=cert, tls_key=key)


def test_a_port_for_probes_beside_one_without_tls_is_refused() -> None:
    assert refused(probe_listen="127.0.0.1:1") == (
        "argument probe_listen: means nothing without tls_cert: listen has no TLS, so probes can"
        " ask there; remove it"
    )


@pytest.mark.parametrize("other", ["listen", "features_listen"])
def test_an_address_in_two_settings_is_refused(files: dict[str, str], other: str) -> None:
    given = files | {
        "features_package": "somewhere",
        other: "127.0.0.1:7",
        "probe_listen": "127.0.0.1:7",
    }
    message = refused(**given)
    assert message == f"argument probe_listen: '127.0.0.1:7' stands in {other}: choose another port"


def test_ports_that_are_any_do_not_contradict_each_other(files: dict[str, str]) -> None:
    load(**files, listen="127.0.0.1:0", probe_listen="127.0.0.1:0")


@pytest.mark.parametrize("verb", ["serve", "checks"])
def test_verbs_refuse_in_one_line_that_names_the_file_the_key_and_the_mend(
    files: dict[str, str], verb: str, tmp_path: Path
) -> None:
    lines = [f'{key} = "{path}"' for key, path in files.items()]
    config = settings_file(tmp_path, *lines)
    Path(files["tls_key"]).write_text("secret")
    ended = run(verb, "--config", str(config))
    assert ended.returncode == 2
    assert ended.stderr == (
        f"petsage-grpc {verb}: {config}: tls_key: {files['tls_key']!r} holds no private key:"
        " name a file in PEM form\n"
    )
    assert ended.stdout == ""

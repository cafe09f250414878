"""Calls over TLS, and every way in which TLS and its options fail."""

import datetime
import socket
import ssl
from pathlib import Path

import pytest

from petsage_grpc.rpc.client import Tls, TlsOptionError
from tests.rpc.client.conftest import SHORT, TIMEOUT, Certificates, connect, grpc_server, refusal
from tests.rpc.client.raw_servers import Echo, address_of, drain, listening, raw_server, saying


@pytest.mark.parametrize(
    "tls",
    [
        pytest.param(lambda own: Tls(ca_cert=own.ca), id="trusted"),
        pytest.param(
            lambda own: Tls(ca_cert=own.ca, server_name="server.example"), id="other name"
        ),
        pytest.param(lambda _: Tls(no_verify=True), id="not verified"),
        pytest.param(lambda own: own.ours(), id="with a client certificate"),
    ],
)
def test_a_call_passes_over_tls(certificates: Certificates, echo: Echo, tls: object) -> None:
    assert callable(tls)
    credentials = certificates.grpc(certificates.server)
    with (
        grpc_server(echo, credentials) as address,
        connect(address, tls=tls(certificates)) as connection,
    ):
        assert connection.call("/echo/same", b"x", TIMEOUT) == b"x"


def test_the_certificate_of_a_server_can_itself_be_what_is_trusted(
    certificates: Certificates, echo: Echo, tmp_path: Path
) -> None:
    leaf = tmp_path / "leaf.pem"
    certificates.server.cert_chain_pems[0].write_to_path(leaf)
    with (
        grpc_server(echo, certificates.grpc(certificates.server)) as address,
        connect(address, tls=Tls(ca_cert=str(leaf))) as connection,
    ):
        assert connection.call("/echo/same", b"x", TIMEOUT) == b"x"


def test_a_call_passes_over_mutual_tls(certificates: Certificates, echo: Echo) -> None:
    credentials = certificates.grpc(certificates.server, mutual=True)
    with (
        grpc_server(echo, credentials) as address,
        connect(address, tls=certificates.ours()) as connection,
    ):
        assert connection.call("/echo/same", b"x", TIMEOUT) == b"x"


def test_a_certificate_that_has_expired_is_said(certificates: Certificates, echo: Echo) -> None:
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    leaf = certificates.authority.issue_cert(
        "127.0.0.1", not_before=yesterday - datetime.timedelta(days=1), not_after=yesterday
    )
    with grpc_server(echo, certificates.grpc(leaf)) as address:
        error = refusal(address, tls=Tls(ca_cert=certificates.ca))

    assert error.reason == "the server's certificate has expired; renew it"


def test_a_certificate_that_is_not_valid_yet_is_said(
    certificates: Certificates, echo: Echo
) -> None:
    tomorrow = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    leaf = certificates.authority.issue_cert("127.0.0.1", not_before=tomorrow)
    with grpc_server(echo, certificates.grpc(leaf)) as address:
        error = refusal(address, tls=Tls(ca_cert=certificates.ca))

    assert error.reason == "the server's certificate is not valid yet; compare the clocks"


def test_a_certificate_that_is_not_trusted_is_said(certificates: Certificates, echo: Echo) -> None:
    with grpc_server(echo, certificates.grpc(certificates.server)) as address:
        error = refusal(address, tls=Tls())

    assert error.reason.startswith("the server's certificate is not trusted")
    assert error.reason.endswith("name its authority's file with -tls-ca-cert")


@pytest.mark.parametrize(
    ("given", "name"), [("", "127.0.0.1"), ("else.example", "else.example")], ids=["host", "given"]
)
def test_a_certificate_for_another_name_is_said(
    certificates: Certificates, echo: Echo, given: str, name: str
) -> None:
    leaf = certificates.authority.issue_cert("server.example")
    with grpc_server(echo, certificates.grpc(leaf)) as address:
        error = refusal(address, tls=Tls(ca_cert=certificates.ca, server_name=given))

    assert error.reason == (
        f'the server\'s certificate is not for "{name}";'
        " name one that it is for with -tls-server-name"
    )


def test_grpc_with_mutual_tls_closes_on_a_client_without_certificate(
    certificates: Certificates, echo: Echo
) -> None:
    credentials = certificates.grpc(certificates.server, mutual=True)
    with grpc_server(echo, credentials) as address:
        missing = refusal(address, tls=Tls(ca_cert=certificates.ca))
        strange = refusal(address, tls=certificates.strangers())

    assert missing.reason == (
        "the server closed the connection in TLS;"
        " if it demands a client certificate, add -tls-client-cert and -tls-client-key"
    )
    assert strange.reason == (
        "the server closed the connection in TLS;"
        " it may not trust the client certificate, or that expired"
    )


@pytest.mark.parametrize(
    ("version", "missing"),
    [
        pytest.param(ssl.TLSVersion.TLSv1_3, "the server demands a client certificate; add -tls-cl",
                     id="TLS 1.3: the alert comes after the handshake"),
        pytest.param(ssl.TLSVersion.TLSv1_2, "the server refuses TLS (handshake failure); if it",
                     id="TLS 1.2"),
    ],
)  # fmt: skip
def test_mutual_tls_without_a_certificate_that_the_server_trusts_is_said(
    certificates: Certificates, version: ssl.TLSVersion, missing: str
) -> None:
    context = certificates.openssl(mutual=True, version=version)
    with raw_server(saying(b""), context) as address:
        without = refusal(address, tls=Tls(ca_cert=certificates.ca))
        strange = refusal(address, tls=certificates.strangers())

    assert without.reason.startswith(missing)
    assert strange.reason == "the server refuses the client certificate (unknown ca)"


@pytest.mark.parametrize("alpn", ["", "http/1.1"], ids=["none", "another"])
def test_tls_without_http2_is_said(certificates: Certificates, alpn: str) -> None:
    with raw_server(saying(b""), certificates.openssl(alpn=alpn)) as address:
        error = refusal(address, tls=Tls(ca_cert=certificates.ca))

    assert error.reason == 'not gRPC: the server does not agree on HTTP/2 (ALPN "h2") in TLS'


def test_tls_against_a_plaintext_server_is_said(server: str) -> None:
    assert refusal(server, tls=Tls()).reason == "the server does not speak TLS; leave out -tls"


@pytest.mark.parametrize("kind", ["grpc", "grpc mutual", "openssl"])
def test_plaintext_against_a_tls_server_is_said(
    certificates: Certificates, echo: Echo, kind: str
) -> None:
    credentials = certificates.grpc(certificates.server, mutual=kind == "grpc mutual")
    serving = (
        raw_server(drain, certificates.openssl())
        if kind == "openssl"
        else grpc_server(echo, credentials)
    )
    with serving as address:
        assert refusal(address).reason == "the server speaks TLS; add -tls"


def test_a_listener_that_never_answers_in_tls_times_out() -> None:
    with listening() as listener:
        error = refusal(address_of(listener), SHORT, Tls(no_verify=True))

    assert error.timed_out
    assert error.reason == "the server accepted the connection but never answered in TLS"


def test_a_server_that_never_answers_after_the_handshake_times_out(
    certificates: Certificates,
) -> None:
    def read_all(connection: socket.socket) -> None:
        while connection.recv(65536):
            pass

    with raw_server(read_all, certificates.openssl()) as address:
        error = refusal(address, SHORT, Tls(ca_cert=certificates.ca))

    assert error.timed_out
    assert error.reason == "the server accepted the connection but never answered"


def encrypted_key(certificates: Certificates) -> str:
    from cryptography.hazmat.primitives import serialization as s  # noqa: PLC0415 -- only here

    key = s.load_pem_private_key(Path(certificates.key).read_bytes(), None)
    path = certificates.directory / "encrypted.pem"
    secret = s.BestAvailableEncryption(b"secret")
    path.write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, secret))
    return str(path)


def broken(certificates: Certificates) -> str:
    path = certificates.directory / "broken.pem"
    path.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    return str(path)


@pytest.mark.parametrize(
    ("tls", "option", "reason"),
    [
        pytest.param(lambda _: Tls(ca_cert="/nowhere.pem"), "tls-ca-cert", "no such file",
                     id="CA missing"),
        pytest.param(lambda own: Tls(ca_cert=str(own.directory)), "tls-ca-cert", "is a directory",
                     id="CA a directory"),
        pytest.param(lambda own: Tls(ca_cert=own.key), "tls-ca-cert", "no certificate in PEM form",
                     id="CA a key"),
        pytest.param(lambda own: Tls(ca_cert=broken(own)), "tls-ca-cert", "a broken certificate",
                     id="CA broken"),
        pytest.param(lambda own: Tls(client_cert="/no.pem", client_key=own.key),
                     "tls-client-cert", "no such file", id="certificate missing"),
        pytest.param(lambda own: Tls(client_cert=own.cert, client_key="/no.pem"),
                     "tls-client-key", "no such file", id="key missing"),
        pytest.param(lambda own: Tls(client_cert=own.key, client_key=own.cert),
                     "tls-client-cert", "no certificate in PEM form", id="swapped"),
        pytest.param(lambda own: Tls(client_cert=own.cert, client_key=own.cert),
                     "tls-client-key", "no private key in PEM form", id="key a certificate"),
        pytest.param(lambda own: Tls(client_cert=own.cert, client_key=own.other_key),
                     "tls-client-key", "does not belong to the certificate", id="not a pair"),
        pytest.param(lambda own: Tls(client_cert=own.cert, client_key=encrypted_key(own)),
                     "tls-client-key", "it has a password", id="key encrypted"),
        pytest.param(lambda _: Tls(server_name=".x"), "tls-server-name", "no server has such",
                     id="name with a leading dot"),
        pytest.param(lambda _: Tls(server_name="a\nb"), "tls-server-name", "no server has such",
                     id="name with a line break"),
    ],
)  # fmt: skip
def test_an_option_that_can_not_be_used_is_named_before_anything_is_sent(
    certificates: Certificates, tls: object, option: str, reason: str
) -> None:
    assert callable(tls)

    with pytest.raises(TlsOptionError) as caught:
        connect("127.0.0.1:1", tls=tls(certificates))

    assert (caught.value.option, reason in caught.value.reason) == (option, True)
    assert str(caught.value).startswith(f'-{option} "{caught.value.value}": ')

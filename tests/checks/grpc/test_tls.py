"""TLS to a downstream: it is spoken as the settings say, and each failure of it is told apart."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
import trustme

from tests import faults
from tests.checks.grpc.conftest import Downstream, MakeCheck, failure

CLOSED = (
    "closed the connection in the TLS handshake: set tls = false if it speaks no TLS, or set"
    " tls_client_cert and tls_client_key if it demands them"
)


class Secure(Downstream):
    """A downstream that speaks TLS."""

    def __init__(self, folder: Path, *, mutual: bool = False, **certificate: object) -> None:
        super().__init__()
        self.ca = str(faults.write_authority(folder))
        self.files = faults.write_certificate(folder, **certificate)  # type: ignore[arg-type]
        certificates, key = (file.read_bytes() for file in self.files)
        self.credentials = grpc.ssl_server_credentials(
            [(key, certificates)], Path(self.ca).read_bytes() if mutual else None, mutual
        )

    async def start(self) -> grpc.aio.Server:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((self,))
        port = server.add_secure_port("127.0.0.1:0", self.credentials)
        self.address = f"127.0.0.1:{port}"
        await server.start()
        return server


@pytest.fixture
async def secure(tmp_path: Path) -> AsyncIterator[Secure]:
    downstream = Secure(tmp_path)
    server = await downstream.start()
    yield downstream
    await server.stop(None)


async def test_a_server_with_a_trusted_certificate_passes(make: MakeCheck, secure: Secure) -> None:
    check = make(secure.address, tls=True, tls_ca_cert=secure.ca)
    await check.run()
    await check.run()
    await secure.watched()


async def test_a_certificate_of_an_unknown_authority_is_told(
    make: MakeCheck, secure: Secure, tmp_path: Path
) -> None:
    said = (
        f"the certificate of {secure.address} is not trusted (unable to get local issuer"
        " certificate): name its authority's file with tls_ca_cert"
    )
    assert await failure(make(secure.address, tls=True)) == said
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(stranger)
    said = await failure(make(secure.address, tls=True, tls_ca_cert=str(stranger)))
    assert said.startswith(f"the certificate of {secure.address} is not trusted (")


async def test_a_certificate_that_has_expired_is_told(make: MakeCheck, tmp_path: Path) -> None:
    downstream = Secure(tmp_path, expired=True)
    server = await downstream.start()
    check = make(downstream.address, tls=True, tls_ca_cert=downstream.ca)
    assert await failure(check) == (
        f"the certificate of {downstream.address} has expired: renew it"
    )
    await server.stop(None)


async def test_a_certificate_for_another_name_is_told_and_can_be_expected(
    make: MakeCheck, tmp_path: Path
) -> None:
    downstream = Secure(tmp_path, host="orders.example")
    server = await downstream.start()
    tls = {"tls": True, "tls_ca_cert": downstream.ca}
    assert await failure(make(downstream.address, **tls)) == (
        f'the certificate of {downstream.address} is not for "127.0.0.1": set tls_server_name to a'
        " name that it is for"
    )
    said = await failure(make(downstream.address, **tls, tls_server_name="other.example"))
    assert 'is not for "other.example"' in said
    await make(downstream.address, **tls, tls_server_name="orders.example").run()
    await server.stop(None)


async def test_the_authority_changes_nothing_of_whom_the_certificate_must_be_for(
    make: MakeCheck, secure: Secure
) -> None:
    check = make(secure.address, tls=True, tls_ca_cert=secure.ca, authority="orders.example")
    await check.run()
    other = make(
        secure.address, tls=True, tls_ca_cert=secure.ca, authority="localhost",
        tls_server_name="orders.example",
    )  # fmt: skip
    assert 'is not for "orders.example"' in await failure(other)


async def test_a_client_certificate_is_shown_to_a_server_that_demands_one(
    make: MakeCheck, tmp_path: Path
) -> None:
    downstream = Secure(tmp_path, mutual=True)
    server = await downstream.start()
    tls = {"tls": True, "tls_ca_cert": downstream.ca}
    certificate, key = map(str, downstream.files)
    await make(downstream.address, **tls, tls_client_cert=certificate, tls_client_key=key).run()
    assert await failure(make(downstream.address, **tls)) == f"{downstream.address} {CLOSED}"
    await server.stop(None)


async def test_a_server_that_speaks_no_tls_is_told(make: MakeCheck, downstream: Downstream) -> None:
    said = f"{downstream.address} does not speak TLS: set tls = false"
    assert await failure(make(downstream.address, tls=True)) == said


async def test_a_server_that_speaks_tls_when_none_is_wanted_is_told(
    make: MakeCheck, secure: Secure
) -> None:
    assert await failure(make(secure.address)) == (
        f"{secure.address} closed the connection before it said anything: set tls = true if it"
        " speaks TLS"
    )


@pytest.mark.parametrize(
    ("alpn", "said"),
    [
        (["h2"], "does not speak gRPC: name the port of a gRPC server"),
        (["http/1.1"], "speaks TLS without HTTP/2: name the port of a gRPC server"),
    ],
)
async def test_what_speaks_tls_but_no_grpc_is_told(
    make: MakeCheck, tmp_path: Path, alpn: list[str], said: str
) -> None:
    context = faults.server_tls(tmp_path)
    context.set_alpn_protocols(alpn)
    with faults.speaking(tls=context) as port:
        check = make(port, tls=True, tls_ca_cert=str(faults.write_authority(tmp_path)))
        assert await failure(check) == f"127.0.0.1:{port} {said}"


async def test_a_server_that_refuses_by_an_alert_is_told(make: MakeCheck, tmp_path: Path) -> None:
    context = faults.server_tls(tmp_path)
    context.set_alpn_protocols(["h2"])
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    with faults.speaking(tls=context) as port:
        check = make(port, tls=True, tls_ca_cert=str(faults.write_authority(tmp_path)))
        assert await failure(check) == (
            f"127.0.0.1:{port} refuses TLS (handshake failure): set tls_client_cert and"
            " tls_client_key if it demands them"
        )


async def test_a_certificate_that_is_renewed_on_disk_is_used_for_the_next_connection(
    make: MakeCheck, secure: Secure, tmp_path: Path
) -> None:
    wrong = tmp_path / "authority.pem"
    trustme.CA().cert_pem.write_to_path(wrong)
    check = make(secure.address, tls=True, tls_ca_cert=str(wrong))
    assert "is not trusted" in await failure(check)
    faults.authority().cert_pem.write_to_path(wrong)
    await check.run()


async def test_a_file_that_can_not_be_used_any_more_is_a_failure(
    make: MakeCheck, secure: Secure, tmp_path: Path
) -> None:
    check = make(secure.address, tls=True, tls_ca_cert=secure.ca)
    (tmp_path / "ca.pem").unlink()
    assert (await failure(check)).startswith("tls_ca_cert: ")
    faults.write_authority(tmp_path)
    await check.run()


def test_to_trust_any_certificate_is_refused(make: MakeCheck) -> None:
    with pytest.raises(ValueError, match=r"^tls_no_verify: grpc trusts no certificate unseen: "):
        make("ledger:5000", tls=True, tls_no_verify=True)


def test_settings_of_tls_without_tls_are_refused(make: MakeCheck) -> None:
    with pytest.raises(ValueError, match=r"^tls_server_name: means nothing without TLS: set tls"):
        make("ledger:5000", tls_server_name="ledger.example")


def test_an_authority_with_a_port_is_refused_with_tls(make: MakeCheck) -> None:
    with pytest.raises(ValueError, match=r"^authority: grpc sends no port with TLS: "):
        make("ledger:5000", tls=True, authority="ledger.example:443")

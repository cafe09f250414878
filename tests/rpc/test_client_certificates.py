"""Client certificates: which names authorise, and that none does which TLS has not verified."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from petsage_grpc.plane.mounted import MountedPlane
from petsage_grpc.rpc import stubs as pb
from tests.rpc.callers import NEW, WRONG, bearer, knows_all, write_tokens
from tests.rpc.conftest import HOSTS


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    return write_tokens(tmp_path)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@asynccontextmanager
async def mounted(
    authority: trustme.CA, folder: Path, *, mutual: bool = True, **settings: Any
) -> AsyncIterator[str]:
    """Serve with TLS, on a server of the application; the disk is broken."""
    broken = {"disk": {"kind": "disk", "directory": str(folder / "missing"), "min_free": 0}}
    pair = authority.issue_cert("localhost")
    plane = MountedPlane.from_settings(checks=broken, **settings)
    server = grpc.aio.server()
    plane.mount(server)
    credentials = grpc.ssl_server_credentials(
        [(pair.private_key_pem.bytes(), pair.cert_chain_pems[0].bytes())],
        authority.cert_pem.bytes(),
        mutual,
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    try:
        async with plane:
            await server.start()
            yield f"localhost:{port}"
    finally:
        await server.stop(0)


async def ask_with(
    address: str,
    authority: trustme.CA,
    client: "trustme.LeafCert | tuple[bytes, bytes]",
    *headers: tuple[str, str],
) -> bool:
    """Ask with a certificate until the check has a result; say whether details are told."""
    if isinstance(client, trustme.LeafCert):
        client = client.private_key_pem.bytes(), client.cert_chain_pems[0].bytes()
    credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes(), *client)
    async with grpc.aio.secure_channel(address, credentials) as channel:
        smoke = pb.SmokeTestServiceStub(channel)
        while True:
            answer = await smoke.SmokeTest(pb.SmokeTestRequest(), metadata=headers)
            if answer.checks[0].HasField("checked_at"):
                return knows_all(answer)


def signed_for_uri(authority: trustme.CA, uri: str) -> tuple[bytes, bytes]:
    """Make a certificate as workloads have it, with its key: its one name is a URI."""
    return signed(authority, x509.UniformResourceIdentifier(uri))


def signed(
    authority: trustme.CA, name: x509.GeneralName, common_name: str = ""
) -> tuple[bytes, bytes]:
    """Make a certificate, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    by = serialization.load_pem_private_key(authority.private_key_pem.bytes(), None)
    assert isinstance(by, ec.EllipticCurvePrivateKey)
    named = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
    subject = x509.Name(named)
    made = (
        x509.CertificateBuilder(issuer.subject, subject, key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(issuer.not_valid_before_utc)
        .not_valid_after(issuer.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName([name]), True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        .sign(by, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(*pem, serialization.NoEncryption()), made.public_bytes(pem[0])


async def test_a_certificate_authorises_by_its_uri(tmp_path: Path, authority: trustme.CA) -> None:
    uri = "spiffe://example.org/monitoring"
    async with mounted(authority, tmp_path, client_names=[uri]) as address:
        assert await ask_with(address, authority, signed_for_uri(authority, uri))
        assert not await ask_with(address, authority, signed_for_uri(authority, uri + "/x"))


async def test_a_name_that_goes_on_after_a_zero_is_another_name(
    tmp_path: Path, authority: trustme.CA
) -> None:
    cut, evil = "client.example\0.evil.example", x509.DNSName("evil.example")
    async with mounted(authority, tmp_path, client_names=["client.example", "0"]) as address:
        for client, admitted in (
            (signed(authority, x509.DNSName("client.example")), True),
            (signed(authority, evil, "client.example"), True),
            (signed(authority, evil, "0"), True),
            (signed(authority, evil, "0\0"), False),
            (signed(authority, x509.DNSName(cut)), False),
            (signed(authority, evil, cut), False),
        ):
            assert await ask_with(address, authority, client) == admitted


@pytest.mark.parametrize(
    ("names", "common_name", "admitted"),
    [
        (["client.example"], None, True),
        (["joe@example.org"], None, True),
        (["other.example"], "monitoring", True),
        (["other.example"], None, False),
        (["client.example.org"], None, False),
        (["sub.client.example"], "client.example.evil", False),
    ],
)
async def test_a_certificate_authorises_by_any_of_its_names(
    tmp_path: Path,
    authority: trustme.CA,
    names: list[str],
    common_name: str | None,
    admitted: bool,
) -> None:
    client = authority.issue_cert(*names, common_name=common_name)
    wanted = ["client.example", "joe@example.org", "monitoring"]
    async with mounted(authority, tmp_path, client_names=wanted) as address:
        assert await ask_with(address, authority, client) == admitted


async def test_tls_without_a_certificate_of_the_client_authorises_nobody(
    tmp_path: Path, authority: trustme.CA
) -> None:
    client = authority.issue_cert("client.example")
    async with mounted(authority, tmp_path, mutual=False, client_names=["client.example"]) as at:
        assert not await ask_with(at, authority, client)


async def test_a_token_authorises_who_has_a_certificate_that_does_not(
    tmp_path: Path, authority: trustme.CA, tokens: Path
) -> None:
    client = authority.issue_cert("other.example")
    given: dict[str, Any] = {"client_names": ["client.example"], "token_files": [str(tokens)]}
    async with mounted(authority, tmp_path, **given) as address:
        assert not await ask_with(address, authority, client)
        assert await ask_with(address, authority, client, bearer(NEW))
        with pytest.raises(grpc.aio.AioRpcError, match="none of those in token_files"):
            await ask_with(address, authority, client, bearer(WRONG))


def write_tls(folder: Path, authority: trustme.CA) -> dict[str, str]:
    """Write the files of a server; return their settings."""
    pair = authority.issue_cert("localhost")
    places = [str(folder / name) for name in ("cert.pem", "key.pem", "ca.pem")]
    pair.cert_chain_pems[0].write_to_path(places[0])
    pair.private_key_pem.write_to_path(places[1])
    authority.cert_pem.write_to_path(places[2])
    return dict(zip(("tls_cert", "tls_key", "tls_client_ca"), places, strict=True))


async def test_a_mounted_plane_takes_no_authority_for_the_one_of_the_applications_server(
    tmp_path: Path, authority: trustme.CA
) -> None:
    files: dict[str, Any] = {**write_tls(tmp_path, trustme.CA())}
    client = authority.issue_cert("any.example")
    async with mounted(authority, tmp_path, **files) as address:
        assert not await ask_with(address, authority, client)


async def test_each_certificate_of_the_authority_authorises_where_none_is_named(
    tmp_path: Path, authority: trustme.CA
) -> None:
    tls = write_tls(tmp_path, authority)
    missing = {"kind": "disk", "directory": str(tmp_path / "missing"), "min_free": 0}
    given = tls | {"listen": "127.0.0.1:0", "checks": {"disk": missing}}
    for more, admitted in (({}, True), ({"client_names": ["client.example"]}, False)):
        async with HOSTS["service"](given | more) as hosted:
            address = hosted.address.replace("127.0.0.1", "localhost")
            client = authority.issue_cert("any.example")
            assert await ask_with(address, authority, client) == admitted

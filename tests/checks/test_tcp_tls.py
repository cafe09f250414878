"""The TCP check shakes hands in TLS, and is not taken in by what TLS 1.3 tells late."""

import asyncio
import ssl

import pytest

from petsage_grpc.checks.tcp import TcpCheck
from tests import faults
from tests.checks.conftest import (
    Site,
    TlsFiles,
    failure_of,
    hearing_farewells,
    nothing_leaks,
    passes,
    serving,
    timeout_of,
)

CLIENT = "set tls_client_cert and tls_client_key"
VERSIONS = pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])


def over_tls(files: TlsFiles, port: int, **settings: str) -> TcpCheck:
    return TcpCheck(address=f"localhost:{port}", tls=True, tls_ca_cert=str(files.ca), **settings)  # type: ignore[arg-type]


def server_context(files: TlsFiles, version: str = "TLSv1_3", **settings: object) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    context.maximum_version = ssl.TLSVersion[version]
    for name, value in settings.items():
        setattr(context, name, value)
    return context


async def test_a_certificate_from_the_authority_passes(site: Site, tls_files: TlsFiles) -> None:
    check = over_tls(tls_files, site.tls)
    await passes(check)
    with nothing_leaks():
        await passes(check)


async def test_an_unknown_authority_is_named(site: Site) -> None:
    check = TcpCheck(address=f"localhost:{site.tls}", tls=True)
    with nothing_leaks():
        assert await failure_of(check) == (
            f"the certificate of localhost:{site.tls} is not trusted (unable to get local issuer"
            " certificate): name its authority's file with tls_ca_cert"
        )
    await passes(TcpCheck(address=f"localhost:{site.tls}", tls=True, tls_no_verify=True))


async def test_an_expired_certificate_is_named(site: Site, tls_files: TlsFiles) -> None:
    assert await failure_of(over_tls(tls_files, site.expired)) == (
        f"the certificate of localhost:{site.expired} has expired: renew it"
    )


async def test_a_certificate_for_another_name_is_named(site: Site, tls_files: TlsFiles) -> None:
    assert await failure_of(over_tls(tls_files, site.other_name)) == (
        f'the certificate of localhost:{site.other_name} is not for "localhost": set'
        " tls_server_name to a name that it is for"
    )
    check = over_tls(tls_files, site.other_name, tls_server_name="ledger.example")
    await passes(check)
    check = over_tls(tls_files, site.tls, tls_server_name="ledger.example")
    assert 'is not for "ledger.example"' in await failure_of(check)


async def test_a_server_without_tls_is_named(site: Site, tls_files: TlsFiles) -> None:
    assert await failure_of(over_tls(tls_files, site.plain)) == (
        f"localhost:{site.plain} does not speak TLS: set tls = false"
    )


async def test_a_server_that_hangs_up_in_the_handshake_is_named(tls_files: TlsFiles) -> None:
    with faults.speaking(b"") as port:
        assert await failure_of(over_tls(tls_files, port)) == (
            f"localhost:{port} closed the connection in the TLS handshake: set tls = false if it"
            f" speaks no TLS, or {CLIENT} if it demands them"
        )


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_a_server_that_speaks_only_old_tls_is_named(tls_files: TlsFiles) -> None:
    context = server_context(tls_files, "TLSv1_1", minimum_version=ssl.TLSVersion.TLSv1)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with faults.speaking(b"", tls=context) as port:
        assert await failure_of(over_tls(tls_files, port)) == (
            f"localhost:{port} speaks no TLS that is safe: let it speak TLS 1.2 or newer"
        )


@VERSIONS
async def test_a_server_that_says_nothing_after_the_handshake_passes(
    tls_files: TlsFiles, version: str
) -> None:
    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    context = server_context(tls_files, version, num_tickets=0)
    server = await asyncio.start_server(wait, faults.HOST, 0, ssl=context)
    async with server:
        await passes(over_tls(tls_files, server.sockets[0].getsockname()[1]))


@VERSIONS
async def test_a_server_that_greets_or_hangs_up_after_the_handshake_passes(
    tls_files: TlsFiles, version: str
) -> None:
    for words in (b"", b"hello", b"a" * 1_000_000):
        with faults.speaking(words, tls=server_context(tls_files, version)) as port:
            await passes(over_tls(tls_files, port))
            if words:
                await passes(over_tls(tls_files, port, expect=words[:3].decode()))


@VERSIONS
async def test_a_server_that_demands_a_client_certificate_is_named_until_it_has_one(
    tls_files: TlsFiles, version: str
) -> None:
    context = server_context(tls_files, version, verify_mode=ssl.CERT_REQUIRED)
    context.load_verify_locations(tls_files.ca)
    refusals = {
        "TLSv1_2": f"refuses TLS (handshake failure): {CLIENT} if it demands them",
        "TLSv1_3": f"demands a client certificate: {CLIENT}",
    }
    certificate, key = str(tls_files.certificate), str(tls_files.key)
    with faults.speaking(b"", tls=context) as port:
        check = over_tls(tls_files, port)
        assert await failure_of(check) == f"localhost:{port} {refusals[version]}"
        check = over_tls(tls_files, port, expect="x")
        assert await failure_of(check) == f"localhost:{port} {refusals[version]}"
        await passes(over_tls(tls_files, port, tls_client_cert=certificate, tls_client_key=key))


@VERSIONS
async def test_a_client_certificate_that_the_server_does_not_trust_is_named(
    tls_files: TlsFiles, version: str
) -> None:
    context = server_context(tls_files, version, verify_mode=ssl.CERT_REQUIRED)
    certificate, key = str(tls_files.certificate), str(tls_files.key)
    with faults.speaking(b"", tls=context) as port:
        check = over_tls(tls_files, port, tls_client_cert=certificate, tls_client_key=key)
        assert await failure_of(check) == (
            f"localhost:{port} refuses the client certificate (unknown ca): set tls_client_cert to"
            " one it trusts"
        )


async def test_a_server_that_refuses_without_a_word_is_not_taken_for_one_that_admits(
    tls_files: TlsFiles,
) -> None:
    context = server_context(tls_files, num_tickets=0)
    with faults.speaking(b"", tls=context) as port:
        assert (await failure_of(over_tls(tls_files, port))).startswith(
            f"localhost:{port} closed the connection in the TLS handshake: "
        )


async def test_a_server_that_is_stopped_is_waited_for_in_the_handshake(
    site: Site, tls_files: TlsFiles
) -> None:
    check = over_tls(tls_files, site.tls)
    with site.nginx.frozen(), nothing_leaks():
        assert await timeout_of(check) == f"shaking hands in TLS with localhost:{site.tls}"
    await passes(check)


@VERSIONS
async def test_it_takes_leave_in_good_order(tls_files: TlsFiles, version: str) -> None:
    with hearing_farewells(server_context(tls_files, version), b"hello") as (port, farewells):
        await passes(over_tls(tls_files, port))
        await passes(over_tls(tls_files, port, expect="hello"))
    assert farewells == [b"", b""]


async def test_a_server_that_does_not_take_leave_is_not_waited_for(tls_files: TlsFiles) -> None:
    parted = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        context = server_context(tls_files)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        while not parted.is_set():  # it shakes hands, and hears nothing more
            try:
                tls.do_handshake()
                writer.write(outgoing.read())
                await parted.wait()
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
                incoming.write(await reader.read(65536))

    async with serving(handle) as port:
        await passes(over_tls(tls_files, port))
        parted.set()

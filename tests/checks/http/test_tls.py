"""HTTPS: whom the check trusts, and what it says of each failure of TLS."""

import asyncio
import ssl

from petsage_grpc.checks.http import HttpCheck
from tests import faults
from tests.checks.conftest import (
    Site,
    TlsFiles,
    failure_of,
    hearing_farewells,
    nothing_leaks,
    passes,
    timeout_of,
)

LOG = "look into its log"
CLIENT = "set tls_client_cert and tls_client_key"


def https(files: TlsFiles, port: int, **settings: str) -> HttpCheck:
    return HttpCheck(url=f"https://localhost:{port}/", tls_ca_cert=str(files.ca), **settings)  # type: ignore[arg-type]


async def test_a_certificate_from_the_authority_passes(site: Site, tls_files: TlsFiles) -> None:
    check = https(tls_files, site.tls, body_contains="well")
    await passes(check)
    with nothing_leaks():
        await passes(check)
    await passes(HttpCheck(url=f"https://{faults.HOST}:{site.tls}/", tls_ca_cert=str(tls_files.ca)))


async def test_an_unknown_authority_is_named(site: Site) -> None:
    check = HttpCheck(url=f"https://localhost:{site.tls}/")
    assert await failure_of(check) == (
        f"the certificate of localhost:{site.tls} is not trusted (unable to get local issuer"
        " certificate): name its authority's file with tls_ca_cert"
    )


async def test_an_expired_certificate_is_named(site: Site, tls_files: TlsFiles) -> None:
    check = https(tls_files, site.expired)
    with nothing_leaks():
        assert await failure_of(check) == (
            f"the certificate of localhost:{site.expired} has expired: renew it"
        )


async def test_a_certificate_for_another_name_is_named(site: Site, tls_files: TlsFiles) -> None:
    assert await failure_of(https(tls_files, site.other_name)) == (
        f'the certificate of localhost:{site.other_name} is not for "localhost": set'
        " tls_server_name to a name that it is for"
    )
    await passes(https(tls_files, site.other_name, tls_server_name="ledger.example"))


async def test_any_certificate_passes_where_none_is_verified(site: Site) -> None:
    for port in (site.tls, site.expired, site.other_name):
        await passes(HttpCheck(url=f"https://localhost:{port}/", tls_no_verify=True))


async def test_the_name_that_is_verified_over_a_unix_socket_is_that_of_the_url(
    tls_files: TlsFiles,
) -> None:
    context = faults.server_tls(tls_files.ca.parent)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    path = tls_files.ca.parent / "socket"
    async with await asyncio.start_unix_server(handle, path, ssl=context):
        await passes(https(tls_files, 1, unix_socket=str(path)))
        check = HttpCheck(
            url="https://ledger.example/", unix_socket=str(path), tls_ca_cert=str(tls_files.ca)
        )
        assert f'of unix:{path} is not for "ledger.example"' in await failure_of(check)


async def test_a_server_without_tls_is_named(site: Site, tls_files: TlsFiles) -> None:
    assert await failure_of(https(tls_files, site.plain)) == (
        f"localhost:{site.plain} does not speak TLS: write http:// in url"
    )


async def test_a_server_that_demands_a_client_certificate_is_named(
    site: Site, tls_files: TlsFiles
) -> None:
    assert await failure_of(https(tls_files, site.demanding)) == (
        f"localhost:{site.demanding} answered 400 (Bad Request), not 200-299: correct url or"
        f" headers, or {CLIENT} if it demands them"
    )
    certificate, key = str(tls_files.certificate), str(tls_files.key)
    await passes(https(tls_files, site.demanding, tls_client_cert=certificate, tls_client_key=key))


async def test_a_server_that_refuses_in_the_handshake_is_named(tls_files: TlsFiles) -> None:
    context = faults.server_tls(tls_files.ca.parent)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(tls_files.ca)
    with faults.speaking(b"", tls=context) as port:
        assert await failure_of(https(tls_files, port)) in (
            f"localhost:{port} demands a client certificate: {CLIENT}",
            # what it says is lost if our request reaches it too late
            f"localhost:{port} broke the connection off: {LOG}, or {CLIENT} if it demands them",
        )


async def test_it_takes_leave_in_good_order(tls_files: TlsFiles) -> None:
    words = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    context = faults.server_tls(tls_files.ca.parent)
    with hearing_farewells(context, words) as (port, farewells):
        await passes(https(tls_files, port))
    assert farewells == [b""]


async def test_a_server_that_is_stopped_is_waited_for_in_the_handshake(
    site: Site, tls_files: TlsFiles
) -> None:
    check = https(tls_files, site.tls)
    with site.nginx.frozen(), nothing_leaks():
        assert await timeout_of(check) == f"shaking hands in TLS with localhost:{site.tls}"
    await passes(check)


async def test_a_server_that_is_killed_fails_until_it_lives_again(
    site: Site, tls_files: TlsFiles
) -> None:
    check = https(tls_files, site.tls)
    await passes(check)
    with site.nginx.killed():
        assert f"localhost:{site.tls} refuses connections" in await failure_of(check)
    await passes(check)

"""Redirects fail unless they are to be followed, and no secret follows them elsewhere."""

import asyncio

from petsage_grpc.checks.http import HttpCheck
from tests import faults
from tests.checks.conftest import Site, TlsFiles, failure_of, passes, serving
from tests.checks.http.conftest import TOKEN, said_back


async def test_a_redirect_fails_and_says_where_it_leads(site: Site) -> None:
    check = HttpCheck(url=f"http://localhost:{site.plain}/away?port={site.other}")
    assert await failure_of(check) == (
        f"localhost:{site.plain} answered 302 (Found), not 200-299, a redirect to http at"
        f" localhost:{site.other}: ask there in url, or set follow_redirects = true"
    )


async def test_a_redirect_that_is_admitted_passes_and_is_not_followed(site: Site) -> None:
    check = HttpCheck(
        url=f"http://localhost:{site.plain}/circle", status=("302",), follow_redirects=True
    )
    await passes(check)


async def test_a_redirect_is_followed_where_that_is_set(site: Site) -> None:
    check = HttpCheck(
        url=f"http://user:{TOKEN}@localhost:{site.plain}/moved",
        follow_redirects=True,
        headers={"X-Token": TOKEN},
    )
    heard = await said_back(check)
    assert "asked=GET /echo;" in heard
    assert f"token={TOKEN};" in heard, "it is the same server"
    assert "authorization=Basic " in heard


async def test_no_secret_goes_to_another_server(site: Site) -> None:
    away = f"localhost:{site.plain}/away?port={site.other}"
    check = HttpCheck(
        url=f"http://user:{TOKEN}@{away}",
        follow_redirects=True,
        headers={"X-Token": TOKEN, "Cookie": TOKEN, "Host": "ledger.example"},
    )
    heard = await said_back(check)
    assert "token=;" in heard
    assert "authorization=;" in heard
    assert "cookie=;" in heard
    assert f"host=localhost:{site.other};" in heard
    check = HttpCheck(
        url=f"http://{away}", follow_redirects=True, headers={"authorization": f"Bearer {TOKEN}"}
    )
    assert "authorization=;" in await said_back(check)


async def test_a_redirect_from_tls_to_none_and_its_headers(site: Site, tls_files: TlsFiles) -> None:
    check = HttpCheck(
        url=f"https://localhost:{site.tls}/away?port={site.plain}",
        tls_ca_cert=str(tls_files.ca),
        follow_redirects=True,
        headers={"X-Token": TOKEN},
    )
    assert "token=;" in await said_back(check)


async def test_the_failure_is_that_of_the_server_where_a_redirect_leads(site: Site) -> None:
    with faults.refused() as port:
        check = HttpCheck(
            url=f"http://localhost:{site.plain}/away?port={port}", follow_redirects=True
        )
        assert (await failure_of(check)).startswith(f"localhost:{port} refuses connections")
        check = HttpCheck(
            url=f"http://ledger/away?port={port}",
            follow_redirects=True,
            unix_socket=str(site.socket),
        )
        assert (await failure_of(check)).startswith(f"localhost:{port} refuses connections")


async def test_a_circle_of_redirects_ends(site: Site) -> None:
    check = HttpCheck(url=f"http://localhost:{site.plain}/circle", follow_redirects=True)
    assert await failure_of(check) == (
        f"localhost:{site.plain} redirects for the 6th time: correct url, or look for a circle"
    )


async def test_no_more_redirects_are_followed_than_five() -> None:
    asked = 0

    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 307 Again\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    async with serving(redirect) as port:
        check = HttpCheck(url=f"http://localhost:{port}/", follow_redirects=True)
        assert "redirects for the 6th time" in await failure_of(check)
    assert asked == 6


async def test_a_redirect_to_what_is_no_http_server_fails(site: Site) -> None:
    for place in ("ftp", "away?port=0", "away?port=99999"):
        check = HttpCheck(url=f"http://localhost:{site.plain}/{place}", follow_redirects=True)
        assert await failure_of(check) == (
            f"localhost:{site.plain} answered 302 (Found), not 200-299, and redirects to no server:"
            " correct url"
        )


async def test_a_redirect_to_what_is_no_url_fails(site: Site) -> None:
    for follow in (False, True):
        check = HttpCheck(url=f"http://localhost:{site.plain}/nowhere", follow_redirects=follow)
        assert await failure_of(check) == (
            f"localhost:{site.plain} redirects to what is no URL: look into its settings"
        )

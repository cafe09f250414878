"""What nginx answers, and what the HTTP check makes of it."""

import base64
import logging

import pytest

from petsage_grpc import __version__
from petsage_grpc.checks.http import HttpCheck
from petsage_grpc.core.check import CheckFailedError
from petsage_grpc.core.units import Size
from tests import faults
from tests.checks.conftest import NGINX_PASSWORD, Site, failure_of, nothing_leaks, passes
from tests.checks.http.conftest import TOKEN, said_back

PASSWORD = "p@ss/w:rd %41"
LOG = "look into its log"


async def test_an_answer_passes(site: Site) -> None:
    check = HttpCheck(url=f"http://localhost:{site.plain}/healthz")
    await passes(check)
    await passes(check)


async def test_no_content_passes(site: Site) -> None:
    await passes(HttpCheck(url=f"http://localhost:{site.plain}/code/204"))


async def test_a_run_leaves_nothing_behind(site: Site) -> None:
    check = HttpCheck(url=f"http://{faults.HOST}:{site.plain}")
    await passes(check)
    with nothing_leaks():
        await passes(check)


async def test_each_run_has_a_fresh_connection_and_says_that_it_closes_it(site: Site) -> None:
    check = HttpCheck(url=f"http://localhost:{site.plain}/echo?full=1")
    for _ in range(2):
        heard = await said_back(check)
        assert "asked=GET /echo?full=1;" in heard
        assert "requests=1;" in heard
        assert "connection=close;" in heard
        assert "encoding=identity;" in heard
        assert f"host=localhost:{site.plain};" in heard
        assert f"agent=petsage-grpc/{__version__};" in heard


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            400,
            (
                "400 (Bad Request), not 200-299: correct url or headers, or write https:// in url"
                " if it speaks TLS"
            ),
        ),
        (401, "401 (Unauthorized), not 200-299: set the user and password in url, or headers"),
        (
            403,
            "403 (Forbidden), not 200-299: allow it there, or set headers that are allowed to ask",
        ),
        (404, "404 (Not Found), not 200-299: correct the path in url"),
        (405, "405 (Method Not Allowed), not 200-299: set another method"),
        (418, "418 (I'm a Teapot), not 200-299: correct url, or set status"),
        (429, "429 (Too Many Requests), not 200-299: set a longer interval"),
        (500, f"500 (Internal Server Error), not 200-299: {LOG}"),
        (503, f"503 (Service Unavailable), not 200-299: {LOG}"),
        (599, f"599, not 200-299: {LOG}"),
    ],
)
async def test_another_status_fails_with_its_mend(site: Site, code: int, said: str) -> None:
    check = HttpCheck(url=f"http://localhost:{site.plain}/code/{code}")
    assert await failure_of(check) == f"localhost:{site.plain} answered {said}"


@pytest.mark.parametrize("status", ["503", "500-599", "500-503", "5xx", "5XX"])
async def test_a_status_that_is_admitted_passes(site: Site, status: str) -> None:
    check = HttpCheck(url=f"http://localhost:{site.plain}/code/503", status=("404", status))
    await passes(check)


@pytest.mark.parametrize("status", ["500", "200-502", "504-599", "4xx"])
async def test_a_status_that_is_not_admitted_fails(site: Site, status: str) -> None:
    check = HttpCheck(url=f"http://localhost:{site.plain}/code/503", status=("204", status))
    assert f"503 (Service Unavailable), not 204 or {status}:" in await failure_of(check)


async def test_an_ok_fails_where_another_status_is_wanted(site: Site) -> None:
    check = HttpCheck(url=f"http://localhost:{site.plain}/", status=("404",))
    assert await failure_of(check) == (
        f"localhost:{site.plain} answered 200 (OK), not 404: correct url, or set status"
    )


async def test_a_body_with_what_it_must_hold_passes(site: Site) -> None:
    await passes(HttpCheck(url=f"http://localhost:{site.plain}/", body_contains="is well"))
    await passes(
        HttpCheck(url=f"http://localhost:{site.plain}/", body_matches="^all .* (well|ok)$")
    )
    await passes(
        HttpCheck(url=f"http://localhost:{site.plain}/", body_contains="l", max_body=Size(2))
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"body_contains": "purring"}, "without 'purring' in its body: {0} body_contains"),
        ({"body_matches": "^well"}, "without '^well' in its body: {0} body_matches"),
        (
            {"body_contains": "well", "body_matches": "ill$"},
            "without 'ill$' in its body: {0} body_matches",
        ),
        (
            {"body_contains": "well", "max_body": Size(5)},
            "without 'well' in its first 5 bytes (max_body): {0} body_contains",
        ),
    ],
)
async def test_a_body_without_it_fails(site: Site, settings: dict[str, str], said: str) -> None:
    check = HttpCheck(url=f"http://localhost:{site.plain}/", **settings)  # type: ignore[arg-type]
    wrong = said.format("see what it says now, or correct")
    assert await failure_of(check) == f"localhost:{site.plain} answered {wrong}"


async def test_what_the_body_must_hold_is_looked_for_in_errors_that_are_admitted(
    site: Site,
) -> None:
    check = HttpCheck(
        url=f"http://localhost:{site.plain}/code/503", status=("503",), body_contains="purring"
    )
    assert "without 'purring' in its body" in await failure_of(check)


async def test_other_methods_are_asked_with(site: Site) -> None:
    url = f"http://localhost:{site.plain}/echo"
    assert "asked=POST /echo;" in await said_back(HttpCheck(url=url, method="POST"))
    await passes(HttpCheck(url=url, method="HEAD"))


async def test_headers_are_sent_in_place_of_ours(site: Site) -> None:
    headers = {"X-Token": TOKEN, "user-agent": "purr", "Host": "ledger.example"}
    url = f"http://localhost:{site.plain}/echo"
    heard = await said_back(HttpCheck(url=url, headers=headers))
    for said in (f"token={TOKEN};", "agent=purr;", "host=ledger.example;"):
        assert said in heard


async def test_the_user_in_the_url_is_sent_as_basic_auth(site: Site) -> None:
    url = f"http://us%20er:p%40ss%2Fw%3Ard%20%2541@localhost:{site.plain}/echo"
    expected = base64.b64encode(f"us er:{PASSWORD}".encode()).decode()
    heard = await said_back(HttpCheck(url=url))
    assert f"authorization=Basic {expected};" in heard
    assert f"host=localhost:{site.plain};" in heard


async def test_a_password_that_the_server_really_looks_at(site: Site) -> None:
    right = HttpCheck(url=f"http://cat:{NGINX_PASSWORD}@localhost:{site.plain}/private")
    await passes(right)
    wrong = HttpCheck(url=f"http://cat:wr0ngw0rd@localhost:{site.plain}/private")
    failed = await failure_of(wrong)
    assert failed == (
        f"localhost:{site.plain} answered 401 (Unauthorized), not 200-299: set the user and"
        " password in url, or headers"
    )


async def test_a_regular_expression_is_tried_on_the_beginning_alone(site: Site) -> None:
    check = HttpCheck(url=f"http://localhost:{site.plain}/", body_matches=r"is w\w+$")
    check._judge_body(b"all is well")
    with pytest.raises(CheckFailedError, match="first 4096 characters, which are all that it look"):
        check._judge_body(b" " * 4096 + b"all is well")


async def test_a_unix_socket_is_asked_in_place_of_the_host(site: Site) -> None:
    check = HttpCheck(url="http://ledger.invalid/moved", unix_socket=str(site.socket))
    assert (await failure_of(check)).startswith(f"unix:{site.socket} answered 301")
    check = HttpCheck(
        url="http://ledger.invalid/moved", unix_socket=str(site.socket), follow_redirects=True
    )
    assert "host=ledger.invalid;" in await said_back(check)


async def test_the_proxies_of_the_environment_are_not_used(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with faults.refused() as port:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://localhost:{port}")
        await passes(HttpCheck(url=f"http://localhost:{site.plain}/"))


async def test_neither_the_url_nor_headers_are_logged(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await passes(
        HttpCheck(
            url=f"http://user:{TOKEN}@localhost:{site.plain}/echo?token={TOKEN}",
            headers={"X-Token": TOKEN},
        )
    )
    assert "http" not in caplog.text
    assert TOKEN not in caplog.text


async def test_an_application_that_uses_httpx_keeps_its_log(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    httpx = pytest.importorskip("httpx")
    caplog.set_level(logging.INFO)
    await passes(HttpCheck(url=f"http://localhost:{site.plain}/"))
    async with httpx.AsyncClient() as client:
        await client.get(f"http://localhost:{site.plain}/")
    assert caplog.text.count("HTTP Request: GET") == 1

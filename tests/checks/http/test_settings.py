"""What can never work is refused when the settings are loaded, without the secrets in it."""

from typing import Any

import pytest

from petsage_grpc.checks.http import HttpCheck
from petsage_grpc.core.units import Size
from tests import processes
from tests.checks.http.conftest import TOKEN

LEDGER = "http://ledger/"
URL = 'write it like "https://ledger:8443/healthz"'
STATUS = 'write it like "200", "200-299" or "2xx"'


def refusal(**settings: Any) -> str:
    with pytest.raises(ValueError, match=r"^\w+: .") as refused:
        HttpCheck(**{"url": LEDGER, **settings})
    assert TOKEN not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", f"url: must begin with http:// or https://: {URL}"),
        (f"ledger:80/{TOKEN}", f"url: must begin with http:// or https://: {URL}"),
        (f"ftp://u:{TOKEN}@ledger/", f"url: must begin with http:// or https://: {URL}"),
        (f" http://u:{TOKEN}@ledger/", f"url: must begin with http:// or https://: {URL}"),
        (f"http:///{TOKEN}", f"url: has no host: {URL}"),
        (f"http://u:{TOKEN}@/", f"url: has no host: {URL}"),
        (f"http://u:{TOKEN}@ledger:80x/", f"url: can not be read: {URL}"),
        (f"http://u:{TOKEN}@[zz]/", f"url: can not be read: {URL}"),
        (f"http://u:{TOKEN}\n@ledger/", f"url: can not be read: {URL}"),
        (f"http://u:{TOKEN}@ledger:0/", f"url: has no valid host and port: {URL}"),
        (f"http://u:{TOKEN}@ledger:65536/", f"url: has no valid host and port: {URL}"),
        (f"http://u:{TOKEN}@a b/", f"url: has no valid host and port: {URL}"),
        (f"http://u:{TOKEN}@{'a' * 64}/", f"url: has no valid host and port: {URL}"),
        (f"http://u:{TOKEN}@a..b/", f"url: has no valid host and port: {URL}"),
    ],
)
def test_a_url_that_leads_nowhere_is_refused_without_it(url: str, said: str) -> None:
    assert refusal(url=url) == said


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"method": "get"}, 'method: \'get\' is none: write it like "GET" or "HEAD"'),
        ({"method": ""}, 'method: \'\' is none: write it like "GET" or "HEAD"'),
        ({"method": "CONNECT"}, 'method: \'CONNECT\' is none: write it like "GET" or "HEAD"'),
        ({"status": ()}, f"status: admits no answer: {STATUS}"),
        ({"status": ("200", "ok")}, f"status: 'ok' is no status: {STATUS}"),
        ({"status": ("20",)}, f"status: '20' is no status: {STATUS}"),
        ({"status": ("0xx",)}, f"status: '0xx' is no status: {STATUS}"),
        ({"status": ("299-200",)}, f"status: '299-200' is no status: {STATUS}"),
        ({"status": ("200-",)}, f"status: '200-' is no status: {STATUS}"),
        (
            {"body_contains": "x", "method": "HEAD"},
            "body_contains: the answer to HEAD has no body: set another method",
        ),
        (
            {"body_matches": "x", "method": "HEAD"},
            "body_matches: the answer to HEAD has no body: set another method",
        ),
        (
            {"body_matches": "("},
            (
                "body_matches: is no regular expression: missing ), unterminated subpattern at"
                " position 0"
            ),
        ),
        (
            {"body_contains": "käse", "max_body": Size(4)},
            "max_body: is too small for body_contains: set a larger size",
        ),
        (
            {"headers": {"X Token": TOKEN}},
            "headers: 'X Token' is no name of a header: write it without spaces",
        ),
        ({"headers": {"": TOKEN}}, "headers: '' is no name of a header: write it without spaces"),
        (
            {"headers": {"Connection": "keep-alive"}},
            "headers: Connection is for the check itself to say: leave it out",
        ),
        *(
            (
                {"headers": {"X-Token": value}},
                (
                    "headers: the value of X-Token can not be sent: write it in one line of ASCII,"
                    " without spaces around it"
                ),
            )
            for value in (f"{TOKEN}\r\nX: y", f"{TOKEN} ", f"{TOKEN}é", f"{TOKEN}\0", f"{TOKEN}\n")
        ),
        (
            {"url": f"http://u:{TOKEN}@ledger/", "headers": {"authorization": TOKEN}},
            "headers: Authorization contradicts the user in url: leave one out",
        ),
        ({"unix_socket": "a\0b"}, 'unix_socket: it is no path: write it like "/run/ledger.sock"'),
        (
            {"tls_no_verify": True},
            "tls_no_verify: means nothing without TLS: write https:// in url",
        ),
        (
            {"url": "https://ledger/", "tls_ca_cert": "/nowhere/ca.pem"},
            (
                "tls_ca_cert: '/nowhere/ca.pem' can not be read: No such file or directory: name a"
                " file that this user can read"
            ),
        ),
    ],
)
def test_a_setting_that_can_never_work_is_refused(settings: dict[str, Any], said: str) -> None:
    assert refusal(**settings) == said


def test_the_settings_of_tls_can_be_for_where_a_redirect_leads() -> None:
    HttpCheck(url=LEDGER, tls_no_verify=True, follow_redirects=True)


@pytest.mark.parametrize(
    "url",
    [
        "http://ledger", "HTTPS://Ledger:1/x?y#z", "http://[::1]:80/", "http://127.0.0.1/",
        "http://bücher.example/", "http://a_b/", "http://u@ledger/",
    ],
)  # fmt: skip
def test_a_url_of_any_form_is_taken(url: str) -> None:
    HttpCheck(url=url)


def test_what_is_secret_is_hidden() -> None:
    check = HttpCheck(
        url=f"http://user:{TOKEN}@ledger/path?key=abcdef",
        headers={"X-Token": "a token", "Accept": "text/html"},
    )
    said = check.redact(f"{check.url} {TOKEN} dXNlcjpodW50ZXIyLWh1bnRlcjI= /path?key=abcdef")
    assert said == "(url) *** *** ***"
    assert check.redact("a token; text/html; ledger; user") == "***; text/html; ledger; user"
    assert TOKEN not in repr(check)
    check = HttpCheck(url=f"http://{TOKEN}@ledger")
    assert check.redact(f"no user {TOKEN}") == "no user ***"
    check = HttpCheck(url=LEDGER, headers={"Authorization": "Bearer purring"})
    assert check.redact("neither Bearer purring, nor purring") == "neither ***, nor ***"


def test_without_its_driver_the_kind_can_be_listed_but_not_used() -> None:
    ran = processes.python(
        "import sys; sys.modules['httpx'] = None\n"
        "from petsage_grpc.checks.http import HttpCheck\n"
        "try:\n    HttpCheck(url='http://ledger/')\n"
        "except ValueError as error:\n    print(error)"
    )
    assert ran.stderr == ""
    assert ran.stdout == 'needs httpx: pip install "petsage-grpc[http]"\n'

"""The settings of the kind `http`: what is wrong with one is told without the secrets in it."""

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from petsage_grpc.checks._dial import Address, parse_address
from petsage_grpc.core.check import Check
from petsage_grpc.core.units import Size

if TYPE_CHECKING:
    import httpx

__all__ = ["MATCHED", "HttpSettings", "address_of", "origin_of"]

MATCHED: Final = 4096
"""Characters that a regular expression is tried on: it holds up the event loop, and may be slow."""

_URL: Final = 'write it like "https://ledger:8443/healthz"'
_STATUS: Final = 'write it like "200", "200-299" or "2xx"'
_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE: Final = re.compile(r"([!-~]([ \t!-~]*[!-~])?)?")
_PORTS: Final = {"http": 80, "https": 443}

_OURS: Final = frozenset((
    "accept-encoding", "connection", "content-length", "expect", "te", "trailer",
    "transfer-encoding", "upgrade",
))  # fmt: skip
"""Headers that say how to speak, which is for the check itself to say."""

_NO_SECRETS: Final = frozenset(("accept", "accept-language", "content-type", "host", "user-agent"))
"""Headers whose values may be read by everybody."""


@dataclass(kw_only=True)
class HttpSettings(Check):
    """What can be set, beside TLS; it is looked at here but for `unix_socket`."""

    url: str = field(
        repr=False,
        metadata={"help": "what to ask for; a user and password in it are sent as basic auth"},
    )
    method: str = field(default="GET", metadata={"help": "how to ask"})
    status: tuple[str, ...] = field(
        default=("200-299",), metadata={"help": 'answers that pass, like "200", "200-299" or "2xx"'}
    )
    body_contains: str = field(
        default="", metadata={"help": "text that must be in the body, which is read as UTF-8"}
    )
    body_matches: str = field(
        default="",
        metadata={"help": "regular expression that must be found in its first 4096 characters"},
    )
    max_body: Size = field(
        default=Size(64 * 1024), metadata={"help": "how much of the body is read at most"}
    )
    headers: Mapping[str, str] = field(
        default_factory=dict,
        repr=False,
        metadata={"help": "headers to send; their values are kept secret"},
    )
    follow_redirects: bool = field(
        default=False,
        metadata={"help": "ask where a redirect leads to, rather than fail; at most 5 times"},
    )
    unix_socket: str = field(
        default="",
        metadata={"help": "path of a Unix socket to ask at, not at the host and port of url"},
    )

    def read_settings(self) -> None:
        """Refuse what can never work, and hide secrets. Raises ValueError."""
        self.target = self._read_url()
        self._read_headers()
        if not re.fullmatch("[A-Z]+", self.method) or self.method == "CONNECT":
            raise ValueError(f'method: {self.method!r} is none: write it like "GET" or "HEAD"')
        self.admitted = [_parse_status(text) for text in self.status]
        if not self.admitted:
            raise ValueError(f"status: admits no answer: {_STATUS}")
        self._read_body_settings()
        if "\0" in self.unix_socket:
            raise ValueError('unix_socket: it is no path: write it like "/run/ledger.sock"')

    def _read_url(self) -> "httpx.URL":
        """Parse the URL, and hide it; what is wrong is said without it, for it may hold secrets."""
        try:
            import httpx  # noqa: PLC0415 -- the kind can be listed without it

            from petsage_grpc.checks import _http_once  # noqa: F401, PLC0415 -- no run waits for it
        except ImportError:
            raise ValueError('needs httpx: pip install "petsage-grpc[http]"') from None
        self.hide(self.url, "(url)")
        try:
            url = httpx.URL(self.url)
        except httpx.InvalidURL:
            raise ValueError(f"url: can not be read: {_URL}") from None
        if url.scheme not in _PORTS:
            raise ValueError(f"url: must begin with http:// or https://: {_URL}")
        if not url.host:
            raise ValueError(f"url: has no host: {_URL}")
        try:
            address_of(url)
        except ValueError:
            raise ValueError(f"url: has no valid host and port: {_URL}") from None
        if url.userinfo:
            self.hide(url.userinfo.decode())
            self.hide(url.password or url.username)
            self.hide(b64encode(f"{url.username}:{url.password}".encode()).decode())
        if url.query:
            self.hide(url.raw_path.decode())
        return url

    def _read_headers(self) -> None:
        for name, value in self.headers.items():
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"headers: {name!r} is no name of a header: write it without spaces"
                )
            if name.lower() in _OURS:
                raise ValueError(f"headers: {name} is for the check itself to say: leave it out")
            if not _VALUE.fullmatch(value):
                raise ValueError(
                    f"headers: the value of {name} can not be sent: write it in one line of"
                    " ASCII, without spaces around it"
                )
            if name.lower() == "authorization" and self.target.userinfo:
                raise ValueError(
                    "headers: Authorization contradicts the user in url: leave one out"
                )
            if name.lower() not in _NO_SECRETS:
                self.hide(value)
                self.hide(value.partition(" ")[2])  # what comes after "Bearer"

    def _read_body_settings(self) -> None:
        for name in ("body_contains", "body_matches"):
            if getattr(self, name) and self.method == "HEAD":
                raise ValueError(f"{name}: the answer to HEAD has no body: set another method")
        try:
            self.pattern = re.compile(self.body_matches)
        except re.error as error:
            raise ValueError(f"body_matches: is no regular expression: {error}") from None
        if self.max_body < len(self.body_contains.encode()):
            raise ValueError("max_body: is too small for body_contains: set a larger size")


def address_of(url: "httpx.URL") -> Address:
    """Say where a URL leads to. Raises ValueError."""
    if url.scheme not in _PORTS:
        raise ValueError("it is no URL of HTTP")
    host = url.raw_host.decode()
    port = _PORTS[url.scheme] if url.port is None else url.port
    return parse_address(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def origin_of(url: "httpx.URL") -> tuple[str, bytes, int | None]:
    return url.scheme, url.raw_host, url.port or _PORTS.get(url.scheme)


def _parse_status(text: str) -> range:
    """Read which answers pass. Raises ValueError."""
    if match := re.fullmatch("([1-9])[xX]{2}", text):
        return range(int(match[1]) * 100, int(match[1]) * 100 + 100)
    if match := re.fullmatch("([1-9][0-9]{2})(?:-([1-9][0-9]{2}))?", text):
        admitted = range(int(match[1]), int(match[2] or match[1]) + 1)
        if admitted:
            return admitted
    raise ValueError(f"status: {text!r} is no status: {_STATUS}")

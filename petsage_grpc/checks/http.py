"""Knows whether a server answers over HTTP as it should: the status, and what is in the body."""

import logging
import ssl
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from petsage_grpc import __version__
from petsage_grpc.checks._dial import Address, Connection, Tls, dial, explain_network
from petsage_grpc.checks._http_settings import MATCHED, HttpSettings, address_of, origin_of
from petsage_grpc.checks._tls import TlsSettings
from petsage_grpc.core.check import CheckFailedError

if TYPE_CHECKING:
    import httpx

    from petsage_grpc.checks._http_once import FreshTransport

__all__ = ["HttpCheck"]

_TURN_ON: Final = "write https:// in url"
_TURN_OFF: Final = "write http:// in url"
_IF_DEMANDED: Final = "set tls_client_cert and tls_client_key if it demands them"

_HEADERS: Final = {
    "Accept-Encoding": "identity", "Connection": "close",
    "User-Agent": f"petsage-grpc/{__version__}",
}  # fmt: skip

_MOST_REDIRECTS: Final = 5
_SERVER_ERROR: Final = 500
_TLS_RECORD: Final = b"\x15\x03"
"""How a server begins that speaks TLS and hears none: an alert."""

_MENDS: Final[dict[int, str]] = {
    HTTPStatus.UNAUTHORIZED: "set the user and password in url, or headers",
    HTTPStatus.FORBIDDEN: "allow it there, or set headers that are allowed to ask",
    HTTPStatus.NOT_FOUND: "correct the path in url",
    HTTPStatus.METHOD_NOT_ALLOWED: "set another method",
    HTTPStatus.TOO_MANY_REQUESTS: "set a longer interval",
}

_asking: ContextVar[bool] = ContextVar("_asking", default=False)
"""Whether it is a check that uses httpx, not the application that it lives in."""

logging.getLogger("httpx").addFilter(lambda _record: not _asking.get())  # it logs each URL


@dataclass(kw_only=True)
class HttpCheck(TlsSettings, HttpSettings):
    """Fails when a server does not answer an HTTP/1.1 request as it should."""

    def __post_init__(self) -> None:
        """Refuse what can never work."""
        self.read_settings()
        self._at, self._secure = self._place(self.target), False
        self.load_tls(used=self.target.scheme == "https" or self.follow_redirects, turn_on=_TURN_ON)

    async def run(self) -> None:
        """Ask on a fresh connection: one that is kept would hide that no new one is accepted."""
        from petsage_grpc.checks._http_once import (  # noqa: PLC0415 -- needs the driver
            BrokenAnswerError,
            FreshTransport,
        )

        transport = FreshTransport(self._connect, self.max_body, self._on_head)
        token = _asking.set(True)
        try:
            await self._ask(transport)
        except BrokenAnswerError as error:
            said = self._explain_answer(error.heard, begun=error.begun)
            raise CheckFailedError(said) from error
        except OSError as error:
            raise CheckFailedError(self._explain_loss(error)) from error
        finally:
            _asking.reset(token)

    async def _connect(self, url: "httpx.URL") -> Connection:
        """Dial where a URL leads."""
        self._at, self._secure = self._place(url), url.scheme == "https"
        tls = Tls(self, _TURN_OFF) if self._secure else None
        connection = await dial(self, self._at, tls)
        self.doing = f"waiting for {self._at.shown} to answer"
        return connection

    def _on_head(self) -> None:
        self.doing = f"reading the answer of {self._at.shown}"

    def _place(self, url: "httpx.URL") -> Address:
        place = address_of(url)
        if self.unix_socket and origin_of(url) == origin_of(self.target):
            return Address(f"unix:{self.unix_socket}", place.host, path=self.unix_socket)
        return place

    async def _ask(self, transport: "FreshTransport") -> None:
        import httpx  # noqa: PLC0415 -- needs the driver

        async with httpx.AsyncClient(
            transport=transport, headers=_HEADERS, trust_env=False
        ) as client:
            request = client.build_request(self.method, self.target, headers=self.headers)
            for _ in range(_MOST_REDIRECTS + 1):
                try:
                    answer = await client.send(request)
                except httpx.RemoteProtocolError as error:  # httpx reads where a redirect leads to
                    raise CheckFailedError(
                        f"{self._at.shown} redirects to what is no URL: look into its settings"
                    ) from error
                if self._admits(answer.status_code):
                    self._judge_body(transport.body)
                    return
                request = self._redirected(answer)
        raise CheckFailedError(
            f"{self._at.shown} redirects for the {_MOST_REDIRECTS + 1}th time: correct url, or look"
            " for a circle"
        )

    def _admits(self, status: int) -> bool:
        return any(status in admitted for admitted in self.admitted)

    def _redirected(self, answer: "httpx.Response") -> "httpx.Request":
        """Return what to ask next. Raises CheckFailedError when the answer is no redirect."""
        server, code = self._at.shown, answer.status_code
        said = f"{server} answered {code}{_phrase(code)}, not {' or '.join(self.status)}"
        request = answer.next_request
        if request is None:
            raise CheckFailedError(f"{said}: {self._mend(code)}")
        try:
            to = address_of(request.url).shown
        except ValueError:
            raise CheckFailedError(f"{said}, and redirects to no server: correct url") from None
        if not self.follow_redirects:
            raise CheckFailedError(
                f"{said}, a redirect to {request.url.scheme} at {to}: ask there in url, or set"
                " follow_redirects = true"
            )
        if origin_of(request.url) != origin_of(self.target):  # our secrets are not for others
            for name in self.headers:  # httpx drops the user itself
                if name.lower() != "host":
                    request.headers.pop(name, None)
        return request

    def _mend(self, code: int) -> str:
        if code == HTTPStatus.BAD_REQUEST and self._secure:  # so nginx says it
            return f"correct url or headers, or {_IF_DEMANDED}"
        if code == HTTPStatus.BAD_REQUEST:  # so nginx says it, too
            return f"correct url or headers, or {_TURN_ON} if it speaks TLS"
        if code in _MENDS:
            return _MENDS[code]
        return "look into its log" if code >= _SERVER_ERROR else "correct url, or set status"

    def _judge_body(self, body: bytes) -> None:
        text = body.decode(errors="replace")
        wrong = ""
        if self.body_contains not in text:
            wrong = "body_contains"
        elif not self.pattern.search(text[:MATCHED]):
            wrong = "body_matches"
        if wrong:
            where = f"first {len(body)} bytes (max_body)" if len(body) >= self.max_body else "body"
            if wrong == "body_matches" and len(text) > MATCHED:
                where = f"first {MATCHED} characters, which are all that it looks at"
            raise CheckFailedError(
                f"{self._at.shown} answered without {getattr(self, wrong)!r} in its {where}: see"
                f" what it says now, or correct {wrong}"
            )

    def _explain_loss(self, error: OSError) -> str:
        server = self._at.shown
        if isinstance(error, ssl.SSLError):
            return self.explain_tls(error, server, name=self._at.host, turn_off=_TURN_OFF)
        if isinstance(error, ConnectionError):
            return f"{server} broke the connection off: {self._look()}"
        return explain_network(error, server)

    def _explain_answer(self, heard: bytes, *, begun: bool) -> str:
        """Say what a server sent in place of an answer."""
        server = self._at.shown
        if begun:
            return f"{server} broke its answer off: look into its log"
        if not heard:
            return f"{server} closed the connection without an answer: {self._look()}"
        if heard.startswith(_TLS_RECORD):
            return f"{server} speaks TLS: {_TURN_ON}"
        if heard.startswith(b"HTTP/"):
            return f"{server} answers with a head that breaks the rules of HTTP: look into its log"
        return (
            f"{server} does not speak HTTP/1.1: see what listens there, or correct the port in url"
        )

    def _look(self) -> str:
        if self._secure and not self.tls_client_cert:  # TLS 1.3 lets a server say so this late
            return f"look into its log, or {_IF_DEMANDED}"
        return "look into its log"


def _phrase(code: int) -> str:
    with suppress(ValueError):
        return f" ({HTTPStatus(code).phrase})"
    return ""

"""Decides who is told details: who sends a token of the files, or shows an admitted certificate."""

import hashlib
import hmac
import logging
import re
import threading
import weakref
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from petsage_grpc.core.clock import Clock
from petsage_grpc.rpc._requests import Context, abort, peer_of
from petsage_grpc.rpc.limits import Limit, Refusals
from petsage_grpc.rpc.resumption import has_expired
from petsage_grpc.settings import Settings
from petsage_grpc.settings_tokens import LONGEST_TOKEN, read_tokens, shown

__all__ = ["Authorizer", "CallerContext", "TokenFiles", "make_authorizer"]

_HEADER: Final = "authorization"
_SCHEME: Final = "bearer"
_LOOK_EVERY: Final = 1.0
"""Seconds after which the files are read again."""
_NAMES: Final = ("x509_subject_alternative_name", "x509_common_name")
_CERTIFICATE: Final = "x509_pem_cert"
_TEXT: Final = rb"[\x0c\x12-\x16\x1a-\x1c\x1e\x81\x82\x86](?:[\x01-\x7f]|\x81.|\x82..)"
"""How a text begins in DER: its kind, and its length."""

_log = logging.getLogger("petsage_grpc.access")


class CallerContext(Context, Protocol):
    """What we use of a call's context to know who calls."""

    def invocation_metadata(self) -> Iterable[tuple[str, str | bytes]] | None:
        """Return the headers of the call."""

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """Return what TLS knows of the caller."""


class TokenFiles:
    """The tokens of some files, which are read again while they are in use.

    A file that has become bad leaves the tokens in force that it had. Only digests are kept.

    Args:
        paths: the files.
    """

    def __init__(self, paths: Collection[str]) -> None:
        self._shown = {path: shown(path) for path in paths}
        self._digests: dict[str, frozenset[bytes]] = dict.fromkeys(paths, frozenset())
        self._wrong = dict.fromkeys(paths, "")
        self._looking = threading.Lock()
        self._read(first=True)

    def __str__(self) -> str:
        return f"[{', '.join(self._shown.values())}]"

    def admit(self, token: str) -> bool:
        """Say whether a token is one of them, in the same time whichever it is."""
        if len(token) > LONGEST_TOKEN:
            return False
        sent, found = _digest(token), False
        for digests in self._digests.values():
            for digest in digests:
                found |= hmac.compare_digest(digest, sent)
        return found

    def look(self) -> None:
        """Read the files again; what has changed holds from now on, and is told."""
        if self._looking.acquire(blocking=False):
            try:
                self._read()
            finally:
                self._looking.release()

    def keep_looking(self, clock: Clock) -> None:
        """Read them again and again, aside from the event loop, as long as this is in use."""
        clock.call_later(_LOOK_EVERY, partial(_look_aside, weakref.ref(self), clock))

    def look_aside(self) -> None:
        """Begin to read them on a thread: a file system that hangs must not hold the loop."""
        if not self._looking.locked():
            thread = threading.Thread(target=self.look, name="petsage tokens", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no thread is to be had, or the interpreter ends
                _log.debug("the token files are not read for want of a thread")

    def _read(self, *, first: bool = False) -> None:
        for path in self._shown:
            before, self._wrong[path] = self._wrong[path], ""
            try:
                digests = frozenset(map(_digest, read_tokens(Path(path))))
            except ValueError as error:
                self._wrong[path] = str(error)
                if self._wrong[path] != before:
                    rest = "no token of it holds" if first else "the tokens that it had still hold"
                    _log.error("token_files: %s %s; %s", self._shown[path], error, rest)
                continue
            if not first and (digests != self._digests[path] or before):
                told = self._shown[path], len(digests)
                _log.info("token_files: read %s again, tokens: %d", *told)
            self._digests[path] = digests


def _look_aside(ref: "weakref.ref[TokenFiles]", clock: Clock) -> None:
    files = ref()
    if files is not None:
        files.look_aside()
        files.keep_looking(clock)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


class Authorizer:
    """Says of each call whether its caller is told details.

    Args:
        tokens: the tokens that authorize; None if none does.
        names: names of client certificates that authorize.
        any_certificate: whether every certificate does that TLS has admitted.
        refusals: counts wrong tokens, and says so in the log now and then.
    """

    def __init__(
        self,
        tokens: TokenFiles | None,
        *,
        names: Collection[str] = (),
        any_certificate: bool = False,
        refusals: Refusals | None = None,
    ) -> None:
        self._tokens = tokens
        self._names = frozenset(name.encode() for name in names)
        self._any_certificate = any_certificate
        self._refusals = Refusals() if refusals is None else refusals

    async def admits(self, context: CallerContext) -> bool:
        """Say whether who calls is told details; a wrong token ends the call: UNAUTHENTICATED."""
        if self._tokens is not None:
            metadata = context.invocation_metadata() or ()
            sent = [value for name, value, *_ in metadata if name == _HEADER]
            if sent:
                wrong = self._refuse(self._tokens, sent)
                if not wrong:
                    return True
                limit = Limit("token_files", self._tokens)
                self._refusals.note(limit, peer_of(context), "wrong tokens")
                await abort(context, "UNAUTHENTICATED", wrong)
        return self._shows_certificate(context)

    def _refuse(self, tokens: TokenFiles, sent: list[str | bytes]) -> str:
        """Say what is wrong with the headers of a call; nothing if its token is right."""
        if len(sent) > 1:
            return "the header authorization was sent more than once: send one bearer token"
        scheme, _, token = str(sent[0]).strip().partition(" ")
        if scheme.lower() != _SCHEME:
            return 'the header authorization has no bearer token: send "Bearer TOKEN"'
        if not tokens.admit(token.strip()):
            return "the bearer token is none of those in token_files"
        return ""

    def _shows_certificate(self, context: CallerContext) -> bool:
        if not self._names and not self._any_certificate:
            return False
        known = context.auth_context()
        if b"ssl" not in known.get("transport_security_type", ()) or not known.get(_CERTIFICATE):
            return False
        if has_expired(known):
            return False
        if not self._names:
            return True
        (certificate, *_) = known[_CERTIFICATE]
        return any(
            name in self._names and not _goes_on(name, certificate)
            for key in _NAMES
            for name in known.get(key, ())
        )


def _goes_on(name: bytes, certificate: bytes) -> bool:
    """Say whether a name goes on after a zero in the certificate: there grpc cuts it off."""
    import ssl  # noqa: PLC0415 -- few have certificates

    text, der = name.decode(), ssl.PEM_cert_to_DER_cert(certificate.decode())
    # What comes after a name in DER is a tag, and none is zero.
    return any(
        re.search(_TEXT + re.escape((text + "\0").encode(code, "ignore")), der, re.DOTALL)
        for code in ("utf-8", "latin-1", "utf-16-be", "utf-32-be")
    )


def make_authorizer(
    settings: Settings, clock: Clock, refusals: Refusals | None = None
) -> "bool | Authorizer":
    """Make what says who is told details: everybody, nobody, or who is authorised.

    Args:
        settings: who that is.
        clock: says when the files of tokens are read again.
        refusals: counts wrong tokens.
    """
    if settings.details != "authorized":
        return settings.details == "always"
    if not settings.token_files and not settings.client_names and not settings.tls_client_ca:
        return False
    tokens = TokenFiles(settings.token_files) if settings.token_files else None
    if tokens is not None:
        tokens.keep_looking(clock)
    return Authorizer(
        tokens,
        names=settings.client_names,
        any_certificate=bool(settings.tls_client_ca) and not settings.client_names,
        refusals=refusals,
    )

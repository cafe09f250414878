"""Knows whether a downstream that speaks gRPC is healthy: it asks the health service there.

Each run asks by Check, for an open stream is no proof of life. Beside that one Watch stays open,
and what it brings starts a run at once: so a change is known when it happens.
"""

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from petsage_grpc import __version__
from petsage_grpc.checks._grpc_target import parse_headers, parse_target
from petsage_grpc.checks._grpc_words import describe_answer, describe_failure, find_tls_error
from petsage_grpc.checks._tls import TlsSettings
from petsage_grpc.core.check import Check, CheckFailedError
from petsage_grpc.core.clock import chance
from petsage_grpc.core.hops import HOPS, REACHES, is_backend, parse_reaches

__all__ = ["GrpcCheck"]

_CHECK: Final = "/grpc.health.v1.Health/Check"
_WATCH: Final = "/grpc.health.v1.Health/Watch"
_SERVING: Final = "SERVING"

_LEAST_SECRET: Final = 5
"""Characters from which the value of a header is hidden: a shorter one stands in any text."""
_AUTHORITY: Final = re.compile(r"[][A-Za-z0-9.:_-]+")
_LOST: Final = ("UNAVAILABLE", "CANCELLED")
"""What a call ends with where the server has left a connection, or has ended what is on it."""
_SETTLED: Final = (grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.TRANSIENT_FAILURE)
_OPTIONS: Final = (
    ("grpc.primary_user_agent", f"petsage-grpc/{__version__}"),
    # A connection that others share could be one that others have found dead.
    ("grpc.use_local_subchannel_pool", 1),
    # The check goes to the address itself, whatever proxy the environment names.
    ("grpc.enable_http_proxy", 0),
    # Between two runs Watch waits for the connection to come back: not for long, and not wildly.
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 3000),
    # An attempt to connect holds its socket for so long, even when its channel has been closed.
    ("grpc.min_reconnect_backoff_ms", 5000),
    ("grpc.max_receive_message_length", 16 * 1024),
)

_FIRST_PAUSE: Final = 0.5
_LAST_PAUSE: Final = 30.0
"""Seconds, the first and the longest, until a Watch that has ended is made anew."""
_LAST_WORDS: Final = 0.02
"""Seconds in which grpc tells what became of calls that were cancelled."""
_BREATH: Final = 0.1
"""Seconds from message to message of a Watch: one that sends without end must not keep us busy."""


_noise = logging.getLogger("grpc._cython.cygrpc")
if _noise.level == logging.NOTSET:
    _noise.setLevel(logging.INFO)  # at DEBUG it tells of each call on which loop it runs


class _Link:
    """A connection to the downstream, as a channel of its own, with the Watch on it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.watch: asyncio.Task[None] | None = None
        self.known = ""
        """The status that was heard last, by Check or by Watch."""

    @property
    def is_up(self) -> bool:
        return self.channel.get_state() is grpc.ChannelConnectivity.READY

    async def close(self) -> None:
        """End the Watch and the connection."""
        if self.watch is not None:
            self.watch.cancel()
            self.watch = None  # a cycle of references would keep the connection
        await self.channel.close()


class _Answer(NamedTuple):
    """How a call of Check has ended, whoever ended it."""

    code: str
    details: str
    raw: bytes | None
    reaches: Sequence[str | bytes]


class _LostError(Exception):
    """A connection that was kept from the last run is found to be dead."""


@dataclass(kw_only=True)
class GrpcCheck(TlsSettings, Check):
    """Fails when a gRPC server, or one service of it, does not say that it is SERVING."""

    address: str = field(
        metadata={"help": 'where it listens: "ledger:50051" or "unix:/run/ledger.sock"'}
    )
    service: str = field(
        default="", metadata={"help": "health name that is asked for; empty for the whole server"}
    )
    headers: Mapping[str, str] = field(
        default_factory=dict,
        repr=False,
        metadata={"help": "sent along as metadata, such as authorization"},
    )
    authority: str = field(
        default="", metadata={"help": ":authority that is sent, if not that of the address"}
    )
    watch: bool = field(
        default=True,
        metadata={"help": "keep a Watch open too, to know of a change when it happens"},
    )
    tls: bool = field(default=False, metadata={"help": "speak TLS"})
    tls_ca_cert: str = field(
        default="",
        metadata={"help": "PEM file with certificates to trust instead of those that grpc brings"},
    )
    tls_no_verify: bool = field(
        default=False, metadata={"help": "can not be had with grpc: use tls_ca_cert"}
    )

    def __post_init__(self) -> None:
        """Refuse what can never work."""
        self._target = parse_target(self.address)
        self._metadata = parse_headers(self.headers)
        for value in self.headers.values():
            for secret in (value, value.partition(" ")[2]):  # also the token without its scheme
                if len(secret) >= _LEAST_SECRET:
                    self.hide(secret)
        if self.tls_no_verify:
            raise ValueError(
                "tls_no_verify: grpc trusts no certificate unseen: name the server's own one in"
                " tls_ca_cert, and a name that it is for in tls_server_name"
            )
        self.load_tls(used=self.tls, turn_on="set tls = true")
        if self.authority and not _AUTHORITY.fullmatch(self.authority):
            raise ValueError(
                f'authority: no server is called {self.authority!r}: write it like "ledger.example"'
            )
        if self.tls and ":" in self.authority:
            raise ValueError("authority: grpc sends no port with TLS: write the host alone")
        self._request = health_pb2.HealthCheckRequest(service=self.service).SerializeToString()
        self._link: _Link | None = None
        self._watches: set[asyncio.Task[None]] = set()
        self.backend = ""
        """The name of the service that asks, for the header that breaks cycles."""
        self.distances: Mapping[str, int] = {}
        """The backends that the downstream leads to, itself among them, and how far they are."""

    async def run(self) -> None:
        """Ask for the status on the connection that is kept, or on a new one where that is dead."""
        try:
            # grpc would go on to fail until its time to reconnect has come: a new channel does not.
            if self._link is not None and not self._link.is_up:
                await self._drop()
            try:
                status = await self._ask()
            except _LostError:
                await self._drop()
                status = await self._ask()
        except asyncio.CancelledError:
            await self._drop()
            raise
        if status != _SERVING:
            raise CheckFailedError(describe_answer(self._target.shown, self.service, status))

    async def close(self) -> None:
        """End the Watch and the connection."""
        await self._drop()
        if self._watches:
            await asyncio.wait(self._watches)
        # The loop must still be there when a thread of grpc tells it what has been cancelled, or
        # another loop of this process that uses grpc would stumble over that.
        await asyncio.sleep(_LAST_WORDS)

    async def _ask(self) -> str:
        """Return the status that the downstream gives; raise when it gives none."""
        where, kept = self._target.shown, self._link is not None
        if self._link is None:
            self._link = self._open()
        link = self._link
        self.doing = f"connecting to {where}"
        while (state := link.channel.get_state(try_to_connect=True)) not in _SETTLED:
            await link.channel.wait_for_state_change(state)
        self.doing = f"waiting for {where} to answer"
        answer = await self._call(link)
        if kept and answer.code in _LOST:
            raise _LostError
        if self.watch and answer.code != "UNIMPLEMENTED":
            self._begin_watch(link)
        if answer.code not in ("OK", "NOT_FOUND"):
            raise CheckFailedError(self._explain(answer))
        self.distances = parse_reaches(answer.reaches)
        self.reaches = frozenset(self.distances)
        link.known = _read(answer.raw) if answer.code == "OK" else "SERVICE_UNKNOWN"
        if not link.known:
            raise CheckFailedError(
                f"{where} answers with what is no HealthCheckResponse: is it the right port?"
            )
        return link.known

    async def _call(self, link: _Link) -> _Answer:
        # A frame of its own: whoever kept an error with the call would keep the connection.
        hops = ((HOPS, self.backend),) if is_backend(self.backend) else ()
        check: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = link.channel.unary_unary(_CHECK)
        call = check(self._request, metadata=self._metadata + hops)
        try:
            raw: bytes | None = await call
        except grpc.aio.AioRpcError:
            raw = None
        code, details = await call.code(), await call.details()
        reaches = (await call.trailing_metadata()).get_all(REACHES)
        return _Answer(code.name, self.redact(details or ""), raw, reaches)

    def _open(self) -> _Link:
        options: list[tuple[str, str | int]] = list(_OPTIONS)
        if self.authority:
            options.append(("grpc.default_authority", self.authority))
        if not self.tls:
            return _Link(grpc.aio.insecure_channel(self._target.uri, options))
        self.ssl_context()  # the files may have been renewed, or can not be used any more
        files = (self.tls_ca_cert, self.tls_client_key, self.tls_client_cert)
        pems = [Path(file).read_bytes() if file else None for file in files]
        # Without this grpc would want the certificate to be for the authority.
        name = self.tls_server_name.encode("idna").decode() or (
            self.authority and self._target.host
        )
        if name:
            options.append(("grpc.ssl_target_name_override", name))
        credentials = grpc.ssl_channel_credentials(*pems)
        return _Link(grpc.aio.secure_channel(self._target.uri, credentials, options))

    def _explain(self, answer: _Answer) -> str:
        where = self._target.shown
        error = find_tls_error(answer.code, answer.details) if self.tls else None
        if error is None:
            return describe_failure(where, answer.code, answer.details)
        return self.explain_tls(error, where, name=self._target.host, turn_off="set tls = false")

    async def _drop(self) -> None:
        if self._link is not None:
            link, self._link = self._link, None
            await link.close()

    def _begin_watch(self, link: _Link) -> None:
        if link.watch is None:
            name = f"petsage watch of {self._target.shown}"
            link.watch = asyncio.create_task(self._keep_watch(link), name=name)
            self._watches.add(link.watch)
            link.watch.add_done_callback(self._watches.discard)

    async def _keep_watch(self, link: _Link) -> None:
        """Follow the status and have it checked when it turns: a hint alone, which never fails."""
        loop, pause = asyncio.get_running_loop(), _FIRST_PAUSE
        while True:
            begun = loop.time()
            try:
                heard, code = await self._follow(link)
            except Exception:  # noqa: BLE001 -- whatever it is, the next run meets it and says it
                heard, code = False, ""
            if code == "UNIMPLEMENTED":
                return
            if heard:  # it was there, and is there no more
                self.run_soon()
            if loop.time() - begun > _LAST_PAUSE:
                pause = _FIRST_PAUSE
            await asyncio.sleep(pause * (1 + chance()) / 2)
            pause = min(2 * pause, _LAST_PAUSE)

    async def _follow(self, link: _Link) -> tuple[bool, str]:
        """Watch until the stream ends; return whether anything was heard, and the code at the end.

        It waits until there is a connection.
        """
        watch: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = link.channel.unary_stream(_WATCH)
        call = watch(self._request, metadata=self._metadata, wait_for_ready=True)
        heard = False
        try:
            while isinstance(raw := await call.read(), bytes):
                heard, status = True, _read(raw)
                if status != link.known:
                    link.known = status
                    self.run_soon()
                await asyncio.sleep(_BREATH)
        except grpc.aio.AioRpcError as error:
            return heard, error.code().name
        finally:
            call.cancel()
        return heard, "OK"


def _read(raw: bytes | None) -> str:
    """Read the name of the status out of an answer; empty when there is none in it."""
    if raw is None:
        return ""
    try:
        status = health_pb2.HealthCheckResponse.FromString(raw).status
    except DecodeError:
        return ""
    names = health_pb2.HealthCheckResponse.ServingStatus
    return names.Name(status) if status in names.values() else f"status {status}"

"""Keeps connections to Redis servers between runs, renews those that died, and loses none."""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple, TypeVar

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AskError, MovedError, RedisError, ResponseError
from redis.exceptions import ConnectionError as LostError

from petsage_grpc.checks._redis_dial import Streams, Tell, describe_tls, open_streams
from petsage_grpc.checks._redis_url import Address
from petsage_grpc.checks._redis_words import REPLIES, describe
from petsage_grpc.checks._tls import TlsSettings, tls_error
from petsage_grpc.core.check import CheckFailedError

__all__ = ["Link", "Links", "Login", "RedirectedError", "prove"]

_TTL: Final = 60
"""Seconds after which what was written is gone."""

_MOST_SHOWN: Final = 3
"""Servers that are named while they are all waited for."""

_REFUSED_WITHIN: Final = 0.2
"""Seconds after which a server that takes no more clients must have said so."""

T = TypeVar("T")


class Login(NamedTuple):
    """Who we are to a server, and which database we want there."""

    username: str = ""
    password: str = ""
    database: int = 0
    setting: str = "password"
    """The setting that holds the password."""


class RedirectedError(CheckFailedError):
    """Another node of the cluster has the slot, or is about to have it."""

    def __init__(self, text: str, address: Address, *, asking: bool) -> None:
        super().__init__(text)
        self.address = address
        self.asking = asking


class _Connection(AbstractConnection):
    """What redis-py says on a stream; we open it ourselves, to know which step failed."""

    def __init__(self, streams: Streams, login: Login) -> None:
        self.streams = streams
        # All that waits is ended by the timeout of the check.
        super().__init__(
            db=login.database, username=login.username or None, password=login.password or None,
            socket_timeout=None, socket_connect_timeout=None, protocol=2, decode_responses=True,
            encoding_errors="replace",
        )  # fmt: skip

    async def _connect(self) -> None:
        self._reader, self._writer = self.streams

    def _host_error(self) -> str:
        return "the server"

    def repr_pieces(self) -> list[tuple[str, str]]:
        return []

    async def start(self) -> None:
        """Log in, and choose the database."""
        await self.connect()  # type: ignore[no-untyped-call] # redis-py does not say what it returns

    def abort(self) -> None:
        """Disconnect without waiting for anything."""
        self.streams[1].transport.abort()
        self._reader = self._writer = None


class Link:
    """The way to one server: a connection that is kept between runs, if there is one."""

    def __init__(self, address: Address, login: Login, tls: TlsSettings | None, tell: Tell) -> None:
        self.address = address
        self._login = login
        self._tls = tls
        self._tell = tell
        self._connection: _Connection | None = None
        self._silent = True
        """Whether the connection has brought no answer yet."""
        self._lock = asyncio.Lock()

    async def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do what `work` asks of the server, on a new connection if the kept one is found dead.

        Raises CheckFailedError, RedirectedError if another node is to be asked.
        """
        async with self._lock:
            try:
                done = await self._run(work)
            except asyncio.CancelledError:  # what was being done is still told
                self.drop()
                raise
            except Exception as error:  # a parser can raise anything when it reads garbage
                self._tell("")
                if isinstance(error, RedirectedError):
                    raise
                self.drop()
                if isinstance(error, CheckFailedError):
                    raise
                raise CheckFailedError(self._describe(error)) from error
            self._tell("")
            return done

    async def _run(self, work: Callable[[], Awaitable[T]]) -> T:
        if self._connection is not None:
            try:
                return await work()
            except RedisError as error:
                if isinstance(error, REPLIES):
                    raise
            self.drop()
        self._connection = _Connection(await self._open(), self._login)
        names_us = self._login.username or self._login.password
        self._tell(f"logging in to {self.address}" if names_us else self._waiting)
        try:
            await self._connection.start()
            return await work()
        except LostError as error:
            if isinstance(error, REPLIES) or not self._silent:
                raise
            await self._listen()
            raise

    async def ask(self, *command: str | int, doing: str = "") -> Any:  # noqa: ANN401 -- any answer
        """Send a command and return the answer; only inside of what `run` runs."""
        assert self._connection is not None
        self._tell(doing or self._waiting)
        await self._connection.send_command(*command)
        try:
            answer = await self._connection.read_response()
        except AskError as error:  # a MovedError is one too
            host, port = error.node_addr
            there = Address(host or self.address.host, port)
            asking = not isinstance(error, MovedError)
            raise RedirectedError(self._describe(error), there, asking=asking) from None
        self._silent = False
        return answer

    @property
    def _waiting(self) -> str:
        return f"waiting for the answer of {self.address}"

    async def _open(self) -> Streams:
        self._silent = True
        return await open_streams(self.address, self._tls, self._tell)

    async def _listen(self) -> None:
        """Connect and only listen: who says something may miss why he is refused. Raises that."""
        reader, writer = await self._open()
        said = b""
        try:
            with contextlib.suppress(TimeoutError, ConnectionError, ValueError):
                async with asyncio.timeout(_REFUSED_WITHIN):
                    said = await reader.readline()
        finally:
            writer.transport.abort()
        if said.startswith(b"-"):
            raise ResponseError(said[1:].decode(errors="replace"))

    def _describe(self, error: Exception) -> str:
        if self._tls is not None and (failed := tls_error(error)):
            return describe_tls(self.address, self._tls, failed)
        else_tls = self._silent and self._tls is None and self.address.port > 0
        setting = self._login.setting
        return describe(error, str(self.address), setting=setting, else_tls=else_tls)

    def drop(self) -> None:
        """Give the connection up, at once."""
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    async def close(self) -> None:
        """Give the connection up, and wait until it is gone."""
        if self._connection is not None:
            writer = self._connection.streams[1]
            self.drop()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class Links:
    """The ways to all the servers that a check asks."""

    def __init__(self, tls: TlsSettings | None, say: Tell) -> None:
        self._tls = tls
        self._say = say
        self._links: dict[Address, Link] = {}
        self._doing: dict[Address, str] = {}

    def to(self, address: Address, login: Login) -> Link:
        """Return the way to a server."""
        if address not in self._links:

            def tell(doing: str) -> None:
                self._tell(address, doing)

            self._links[address] = Link(address, login, self._tls, tell)
        return self._links[address]

    def keep(self, addresses: set[Address]) -> None:
        """Give up the ways to all other servers: they belong to it no longer."""
        for address in self._links.keys() - addresses:
            self._links.pop(address).drop()

    def quiet(self) -> None:
        """Forget what was being done: it is no longer."""
        self._doing.clear()
        self._say("")

    async def close(self) -> None:
        """Give up all the connections."""
        for link in self._links.values():
            await link.close()

    def _tell(self, address: Address, doing: str) -> None:
        self._doing.pop(address, None)
        if doing:
            self._doing[address] = doing
        told = [*self._doing.values()]
        more = [f"{len(told) - _MOST_SHOWN} more"] if len(told) > _MOST_SHOWN else []
        self._say(", ".join([*told[:_MOST_SHOWN], *more]))


async def prove(link: Link, key: str = "", *, asking: bool = False) -> None:
    """Have a server answer PING or, given a key, write to it and read it back.

    Args:
        link: the way to the server.
        key: nobody else's, so that nobody writes to it between.
        asking: whether the slot of the key is just moving there.
    """

    async def write_and_read() -> None:
        nonce = secrets.token_hex(8)
        if asking:
            await link.ask("ASKING")
        await link.ask("SET", key, nonce, "EX", _TTL, doing=f"writing to {link.address}")
        if asking:
            await link.ask("ASKING")
        read = await link.ask("GET", key, doing=f"reading back from {link.address}")
        if read != nonce:
            raise CheckFailedError(
                f"{link.address} did not give back what was written to {key}: see that nothing"
                " deletes keys there"
            )

    async def ping() -> None:
        if (answer := await link.ask("PING")) != "PONG":
            raise CheckFailedError(
                f"{link.address} answered PING with {str(answer)[:40]!r}: correct the port in url"
            )

    await link.run(write_and_read if key else ping)

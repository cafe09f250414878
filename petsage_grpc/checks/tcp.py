"""Knows whether a server can be connected to, and whether it says then what it should."""

import asyncio
import errno
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from petsage_grpc.checks._dial import Connection, Tls, dial, explain_network, parse_address
from petsage_grpc.checks._tls import TlsSettings
from petsage_grpc.core.check import Check, CheckFailedError

__all__ = ["TcpCheck"]

_MOST: Final = 16 * 1024
"""Bytes that a server may say before what is expected."""

_SHOWN: Final = 60
"""Characters that are shown of what was said instead."""

_SHORT: Final = 4
"""Characters of a word that is sent which may be shown."""

_LOOKS: Final = tuple(0.001 * 2**number for number in range(8))
"""Seconds after each of which we look for a sign; one that sends none by then has let us in."""


@dataclass(kw_only=True)
class _Settings(Check):
    """The settings that belong to this kind alone; they are listed before those of TLS."""

    address: str = field(
        metadata={"help": 'where it listens: "host:port", "[IPv6]:port" or "unix:/path"'}
    )
    tls: bool = field(
        default=False, metadata={"help": "shake hands in TLS, and verify the certificate"}
    )
    send: str = field(
        default="",
        repr=False,
        metadata={"help": "text to send once connected, with its line break"},
    )
    expect: str = field(
        default="",
        metadata={
            "help": "text that must be in what it then says; without it a server that hangs"
            " passes, as the kernel connects for it"
        },
    )


@dataclass(kw_only=True)
class TcpCheck(TlsSettings, _Settings):
    """Fails when a server can not be connected to, by TCP, TLS or a Unix socket."""

    def __post_init__(self) -> None:
        """Refuse what can never work."""
        try:
            self._address = parse_address(self.address)
        except ValueError as error:
            raise ValueError(f"address: {error}") from None
        if self.send and not self.expect:
            raise ValueError('send: needs expect: set what the answer must hold, like "PONG"')
        self.load_tls(used=self.tls, turn_on="set tls = true")
        self._tls = Tls(self, turn_off="set tls = false") if self.tls else None
        for sent in (self.send, *self.send.splitlines(), *self.send.split()):
            if len(sent) > _SHORT:  # PING and the like are no secrets, and what is wrong may be so
                self.hide(sent, "(what is sent)")

    async def run(self) -> None:
        """Connect, and disconnect once what is expected has been said."""
        connection = await dial(self, self._address, self._tls)
        try:
            if self.expect:
                await self._converse(connection)
            elif self._tls is not None:
                await self._see_whether_admitted(connection)
            await connection.close()
        except OSError as error:
            raise CheckFailedError(self._explain(error)) from error
        finally:
            connection.abort()

    async def _converse(self, connection: Connection) -> None:
        """Send what is to be sent, and read until what is expected comes."""
        server, wanted, said = self._address.shown, self.expect.encode(), b""
        self.doing = f"waiting for {server} to say {self.expect!r}"
        connection.writer.write(self.send.encode())
        await connection.writer.drain()
        while wanted not in said:
            more = await connection.reader.read(_MOST)
            if not more and not said:
                raise CheckFailedError(
                    f"{server} closed the connection without a word: look into its log"
                )
            if not more or len(said) > _MOST:
                # What is cut can not be redacted any more.
                shown = self.redact(said.decode(errors="backslashreplace"))[:_SHOWN]
                raise CheckFailedError(
                    f"{server} said {shown!r}, not {self.expect!r}: see what listens there, or"
                    " correct expect"
                )
            said += more

    async def _see_whether_admitted(self, connection: Connection) -> None:
        """Wait for a sign that the server has let us in.

        In TLS 1.3 it judges our certificate, or that we have none, only after our side is done.
        Most servers then send a ticket, of which asyncio tells nobody.
        """
        tls: ssl.SSLObject = connection.writer.get_extra_info("ssl_object")
        self.doing = f"waiting for {self._address.shown} to let us in"
        for look in _LOOKS if tls.version() == "TLSv1.3" else ():
            said = None
            with suppress(TimeoutError):
                async with asyncio.timeout(look):
                    said = await connection.reader.read(1)
            if said or (tls.session is not None and tls.session.has_ticket):
                return
            if said is not None:
                raise ConnectionResetError(errno.ECONNRESET, "closed after the handshake")

    def _explain(self, error: OSError) -> str:
        server, host = self._address.shown, self._address.host
        if self._tls is not None and (isinstance(error, ssl.SSLError) or not self.expect):
            return self.explain_tls(error, server, name=host, turn_off=self._tls.turn_off)
        return explain_network(error, server)

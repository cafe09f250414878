"""Knows whether a database answers: it logs in, and asks a query that reads."""

import ssl
from dataclasses import dataclass, field
from typing import Any, Final

from petsage_grpc.checks._database_errors import Fault, find_fault
from petsage_grpc.checks._database_link import KeptLink, Link
from petsage_grpc.checks._database_thread import ThreadLink
from petsage_grpc.checks._database_url import read_url
from petsage_grpc.checks._tls import TlsSettings, tls_error
from petsage_grpc.core.check import Check, CheckFailedError
from petsage_grpc.core.units import Duration, format_duration

__all__ = ["DatabaseCheck"]

_LONGEST: Final = 24 * 3600.0
"""Seconds that a statement may take at most; servers count the milliseconds in 32 bits."""


@dataclass(kw_only=True)
class DatabaseCheck(TlsSettings, Check):
    """Fails when a database can not be reached, refuses the login, or does not answer a query."""

    url: str = field(
        default="sqlite://",
        repr=False,
        metadata={
            "help": "URL as SQLAlchemy writes it, like postgresql://user@host:5432/name, mysql://,"
            " mariadb:// or sqlite:///orders.db; without one it is SQLite in memory"
        },
    )
    password: str = field(
        default="",
        repr=False,
        metadata={"help": "password, as it is: nothing needs to be quoted as in the url"},
    )
    query: str = field(
        default="SELECT 1",
        metadata={"help": "one statement that reads, with a short answer; it can not write"},
    )
    statement_timeout: Duration = field(
        default=Duration(1.5),
        metadata={
            "help": "time after which the server itself ends the query; keep it below timeout"
        },
    )
    keep_for: Duration = field(
        default=Duration(300.0),
        metadata={
            "help": "time after which the connection is replaced, to notice a changed password or"
            " address; 0 connects in every run"
        },
    )
    tls: bool = field(
        default=False,
        metadata={"help": "demand TLS, and a certificate that is right; or set sslmode in the url"},
    )

    def __post_init__(self) -> None:
        """Refuse what can never work."""
        query = self.query.strip().rstrip("; \t\n")
        if not query or ";" in query or "\0" in query:
            raise ValueError('query: must be one statement, without any ";": write "SELECT 1"')
        if not 0 < self.statement_timeout <= _LONGEST:
            raise ValueError("statement_timeout must be longer than 0, and at most a day")
        self._database, secrets = read_url(self.url, self.password)
        for secret in secrets:
            self.hide(secret)
        if self.tls and not self._database.driver:
            raise ValueError(f"tls: means nothing for {self._database.system}: leave it out")
        if self.tls and self._database.ssl:
            raise ValueError("tls: contradicts what the url says of ssl: leave one of them out")
        self.load_tls(used=self.tls, turn_on="set tls = true")
        self._link = self._make_link(query)

    def _make_link(self, query: str) -> Link:
        database, limit = self._database, self.statement_timeout
        try:
            if not database.driver:
                return ThreadLink(self, database, query, limit=limit)
            return KeptLink(
                self, database, query, limit=limit, keep_for=self.keep_for, tls=self._tls
            )
        except ImportError as error:
            raise ValueError(f"url: its driver can not be used: {error}: install it") from None
        except Exception as error:  # noqa: BLE001 -- dialects raise what they like
            raise ValueError(f"url: SQLAlchemy refuses it: {self.redact(str(error))}") from None

    async def run(self) -> None:
        """Ask the query, over the connection of the last run if it still works."""
        try:
            await self._link.ask()
        except CheckFailedError:
            raise
        except Exception as error:  # noqa: BLE001 -- drivers raise what they like
            # It may tell the URL and what else is secret, as would a traceback of it.
            raise CheckFailedError(self._explain(error)) from None

    async def close(self) -> None:
        """Close the connection."""
        await self._link.close()

    def _explain(self, error: Exception) -> str:
        database = self._database
        broken = tls_error(error)
        if broken and (self.tls or database.encrypted):
            turn_off = "set tls = false" if self.tls else "take sslmode out of the url"
            name = database.url.host or "localhost"
            return self.explain_tls(broken, database.at, name=name, turn_off=turn_off)
        fault, said = find_fault(error)
        if fault is Fault.NO_TLS and not (self.tls or database.encrypted):
            fault = Fault.GARBAGE  # it was asked, but need not have been willing
        limit = format_duration(self.statement_timeout)
        return fault.value.format(at=database.at, said=said, limit=limit, system=database.system)

    def _tls(self) -> dict[str, Any]:
        """Return what the driver is given for TLS."""
        if not self.tls:
            return {}
        context = self.ssl_context()  # looks whether the files still work
        if self._database.driver != "psycopg":
            return {"ssl": self._named(context)}
        trusted = self.tls_ca_cert or ssl.get_default_verify_paths().cafile or "system"
        given = {
            "host": self.tls_server_name,
            "sslmode": "require" if self.tls_no_verify else "verify-full",
            "sslrootcert": "" if self.tls_no_verify else trusted,
            "sslcert": self.tls_client_cert,
            "sslkey": self.tls_client_key,
        }
        return {name: value for name, value in given.items() if value}

    def _named(self, context: ssl.SSLContext) -> ssl.SSLContext:
        """Have the certificate be for `tls_server_name`: drivers let nobody choose the name."""
        if self.tls_server_name and "wrap_bio" not in vars(context):
            wrap = context.wrap_bio

            def wrap_bio(*args: Any, **kwargs: Any) -> ssl.SSLObject:  # noqa: ANN401 -- as they come
                return wrap(*args, **{**kwargs, "server_hostname": self.tls_server_name})

            vars(context)["wrap_bio"] = wrap_bio
        return context

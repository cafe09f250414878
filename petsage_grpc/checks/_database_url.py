"""Reads a database's URL: which driver asks it, where it is, and what in it is secret."""

import importlib.util
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote, urlencode

if TYPE_CHECKING:
    from sqlalchemy import URL

__all__ = ["Database", "read_url"]

_LIKE: Final = (
    'write it like "postgresql://host:5432/name" with USER@ before the host, and the password'
    " in the setting password"
)
_NAME: Final = "petsage-grpc"
"""What a server is told of who asks, if the URL does not tell it otherwise."""


@dataclass(frozen=True)
class _System:
    """A system of databases, and how it is asked without blocking."""

    name: str
    dialect: str
    port: int
    drivers: tuple[str, ...]
    others: tuple[str, ...]
    """Drivers that an application may have, and that stand for one of the above."""


_POSTGRESQL: Final = _System(
    "PostgreSQL", "postgresql", 5432, ("asyncpg", "psycopg"),
    ("psycopg2", "psycopg2cffi", "pg8000", "psycopg_async"),
)  # fmt: skip
_MYSQL: Final = _System(
    "MySQL", "mysql", 3306, ("aiomysql", "asyncmy"),
    ("pymysql", "mysqldb", "mysqlconnector", "mariadbconnector", "cymysql"),
)  # fmt: skip
_SYSTEMS: Final = {
    "postgresql": _POSTGRESQL, "postgres": _POSTGRESQL, "mysql": _MYSQL, "mariadb": _MYSQL,
}  # fmt: skip

_BY_DSN: Final = {
    "application_name", "krbsrvname", "options", "passfile", "service", "sslcert", "sslcrl",
    "sslkey", "sslmode", "sslnegotiation", "sslpassword", "sslrootcert", "ssl_max_protocol_version",
    "ssl_min_protocol_version", "target_session_attrs",
}  # fmt: skip
"""What asyncpg takes in a URL of its own, but not by keyword, as SQLAlchemy would give it."""

_LIBPQ_ALONE: Final = {
    "channel_binding", "client_encoding", "connect_timeout", "gssencmode", "keepalives",
    "keepalives_count", "keepalives_idle", "keepalives_interval", "tcp_user_timeout",
}  # fmt: skip
"""What asyncpg does not know, and does without."""

_PLAIN: Final = ("disable", "allow")
_ENCRYPTED: Final = ("require", "verify-ca", "verify-full", "true")
_NO_EXTRA: Final = {"psycopg": "psycopg[binary]", "asyncmy": "asyncmy"}
"""Drivers that no extra of ours brings, for it brings another, and what does."""

_LAST_PORT: Final = 65535

_SECRET: Final = re.compile("passw|secret|token|pwd", re.IGNORECASE)
_WITH_PORT: Final = re.compile(r"\[.*\]:\d+|[^:]+:\d+")


@dataclass(frozen=True, kw_only=True)
class Database:
    """A database as it is reached."""

    url: "URL"
    at: str
    """What it is called in messages: its host and port, or its file."""
    system: str
    """The name of its system, for messages."""
    driver: str = ""
    """The driver that asks it without blocking; none when it is asked on a thread."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """What the driver is given besides the URL."""
    hosts: tuple[str, ...] = ()
    """What is to be looked up, or is a number already."""
    ssl: str = ""
    """What the URL itself says of TLS, if anything."""
    file: str = ""
    """The file of an SQLite database."""

    @property
    def plain(self) -> bool:
        """Whether the URL has the driver begin without asking for TLS."""
        return self.ssl in _PLAIN

    @property
    def encrypted(self) -> bool:
        """Whether the URL demands TLS."""
        return self.ssl in _ENCRYPTED


def read_url(text: str, password: str = "") -> tuple[Database, set[str]]:
    """Read a URL as SQLAlchemy writes it; a password of its own goes before one in it.

    Returns the database and what is secret of it. Raises ValueError, which begins with the setting
    and shows nothing of the URL but its scheme.
    """
    try:
        from sqlalchemy import make_url  # noqa: PLC0415 -- who has no such check needs none of it
        from sqlalchemy.exc import ArgumentError  # noqa: PLC0415 -- likewise
    except ImportError:
        raise _needs("SQLAlchemy", "all") from None
    try:
        url = make_url(text.strip())
    except (ArgumentError, ValueError):  # what they say may hold all of the URL
        raise ValueError(f"url: can not be read: {_LIKE}") from None
    _check_host(url, text)
    if password:
        url = url.set(password=password)
    secrets = {text, text.strip(), password, str(url.password or "")}
    user_info = re.match(r"[^/]*//([^/?#]*)@", text.strip())
    if user_info and ":" in user_info[1]:
        secrets |= {user_info[1], user_info[1].partition(":")[2]}
    for name, value in url.query.items():
        if _SECRET.search(name):
            secrets |= {value} if isinstance(value, str) else {*value}
    backend, _, driver = url.drivername.partition("+")
    if system := _SYSTEMS.get(backend):
        return _on_network(url, system, driver), secrets
    if backend == "sqlite" and driver in ("", "pysqlite", "aiosqlite"):
        return _in_file(url), secrets
    return _other(url), secrets


def _check_host(url: "URL", text: str) -> None:
    """Refuse what is no host; it may be a part of a password, and would be looked up and shown."""
    host = url.host or ""
    if any(mark in host for mark in "/?# ") or text.partition("?")[0].count("@") > 1:
        raise ValueError(
            "url: what should be its host is none: write @ : / ? # and % in the user or password as"
            " %40 %3A %2F %3F %23 and %25, or use the setting password"
        )
    try:
        host.encode("idna")
    except UnicodeError:
        raise ValueError("url: its host can be no name: correct it") from None
    if not 0 <= (url.port or 0) <= _LAST_PORT:
        raise ValueError(f"url: its port is above {_LAST_PORT}: correct it")


def _needs(package: str, extra: str) -> ValueError:
    brings = _NO_EXTRA.get(package, f"petsage-grpc[{extra}]")
    return ValueError(f'url: needs {package}: pip install "{brings}"')


def _on_network(url: "URL", system: _System, named: str) -> Database:
    if named and named not in (*system.drivers, *system.others):
        raise ValueError(
            f"url: the driver {named!r} is not known: begin it with {system.dialect}://, or with"
            f" {system.dialect}+{system.drivers[0]}://"
        )
    wanted = (named,) if named in system.drivers else system.drivers
    driver = next((name for name in wanted if importlib.util.find_spec(name)), None)
    for package, missing in ((wanted[0], not driver), ("greenlet", not _has("greenlet"))):
        if missing:
            raise _needs(package, system.dialect)
    assert driver
    query, arguments = dict(url.query), dict[str, Any]()
    ssl = str(query.get("sslmode") or query.get("ssl") or "")
    if driver == "asyncpg":
        own = {name: query.pop(name) for name in _BY_DSN & query.keys()}
        query = {name: value for name, value in query.items() if name not in _LIBPQ_ALONE}
        arguments = {
            "dsn": f"postgresql://?{urlencode({'application_name': _NAME, **own})}",
            # Nothing is prepared by name, so that a pooler may stand in between.
            "statement_cache_size": 0,
            "prepared_statement_cache_size": 0,
            "prepared_statement_name_func": str,
        }
    elif driver == "psycopg":
        query.setdefault("application_name", _NAME)
        arguments = {"prepare_threshold": None}
    elif any(name.startswith("ssl") for name in query):
        raise ValueError(f"url: {driver} takes no ssl from it: set tls = true, and tls_ca_cert")
    hosts = _hosts(url)
    return Database(
        url=url.set(drivername=f"{system.dialect}+{driver}", query=query),
        at=_place(hosts, url.port or system.port),
        hosts=tuple(
            host.rpartition(":")[0].strip("[]") if _WITH_PORT.fullmatch(host) else host
            for host in hosts
            if not host.startswith("/")
        ),
        system=system.name,
        driver=driver,
        arguments=arguments,
        ssl=ssl,
    )


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _hosts(url: "URL") -> list[str]:
    """Tell the host, several of them, each perhaps with its port, or the path of a socket."""
    named = url.query.get("host") or url.query.get("unix_socket") or url.host or "localhost"
    return (named if isinstance(named, str) else ",".join(named)).split(",")


def _place(hosts: list[str], port: int) -> str:
    return ", ".join(
        host if host.startswith("/") or _WITH_PORT.fullmatch(host)
        else f"[{host}]:{port}" if ":" in host
        else f"{host}:{port}"
        for host in hosts
    )  # fmt: skip


def _in_file(url: "URL") -> Database:
    """Have an SQLite file opened, but never created."""
    path, query = url.database or ":memory:", dict(url.query)
    if path == ":memory:" or "memory" in path or query.get("mode") == "memory":
        return Database(url=url.set(drivername="sqlite"), at=path, system="SQLite")
    file = path
    if path.startswith("file:"):
        file = unquote(path.removeprefix("file:").removeprefix("//"))
    else:
        path = f"file:{quote(path)}"
    mode = "ro" if query.get("mode") == "ro" else "rw"
    url = url.set(drivername="sqlite", database=path, query={**query, "mode": mode, "uri": "true"})
    return Database(url=url, at=file, system="SQLite", file=file)


def _other(url: "URL") -> Database:
    """Have one that only SQLAlchemy knows be asked on a thread."""
    from sqlalchemy.exc import NoSuchModuleError  # noqa: PLC0415 -- as make_url above

    try:
        dialect = url.get_dialect()
    except NoSuchModuleError:
        known = ", ".join(f"{name}://" for name in (*_SYSTEMS, "sqlite"))
        raise ValueError(
            f"url: SQLAlchemy knows no {url.drivername!r}: begin it with one of {known}, or"
            " install its dialect"
        ) from None
    if dialect.is_async:
        raise ValueError(f"url: {url.drivername!r} is not known: name its driver that blocks")
    port = f":{url.port}" if url.port else ""
    at = f"{url.host}{port}" if url.host else url.drivername
    return Database(url=url, at=at, system=dialect.name)

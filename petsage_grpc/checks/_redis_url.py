"""Reads a URL of Redis, of one server, a cluster or sentinels, and never shows it."""

from typing import Final, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

__all__ = ["Address", "Target", "parse_url"]

_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_MOST_PORT: Final = 65535

_FORMS: Final = ("", "cluster", "sentinel")
_HOW: Final = 'write it like "redis://cache:6379/0"'
_QUOTE: Final = (
    f"{_HOW}; characters like / ? # @ of a password are written %2F %3F %23 %40, or it is given in"
    " the setting password"
)
_SCHEMES: Final = (
    "redis://, rediss:// (with TLS), unix://, redis+cluster://, rediss+cluster://,"
    " redis+sentinel:// or rediss+sentinel://"
)


class Address(NamedTuple):
    """Where a server listens: a host and a port, or the path of a socket."""

    host: str
    port: int

    def __str__(self) -> str:
        if not self.port:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Target(NamedTuple):
    """What a URL leads to."""

    addresses: tuple[Address, ...]
    tls: bool = False
    cluster: bool = False
    service: str = ""
    """The name of the master that sentinels know; the addresses are theirs then."""
    database: int = 0
    username: str = ""
    password: str = ""


def parse_url(url: str) -> Target:
    """Read a URL. Raises ValueError, which shows nothing of it, for secrets may stand anywhere."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(f"url: can not be read: {_QUOTE}") from None
    scheme, _, form = parts.scheme.partition("+")
    if parts.scheme != "unix" and (scheme not in ("redis", "rediss") or form not in _FORMS):
        raise ValueError(f"url: must begin with {_SCHEMES}; {_HOW}")
    if parts.fragment:
        raise ValueError(f"url: has a # in it: {_QUOTE}")
    user_info, _, hosts = parts.netloc.rpartition("@")
    username, _, password = user_info.partition(":")
    path = unquote(parts.path)
    target = Target((), tls=scheme == "rediss", cluster=form == "cluster")
    target = target._replace(username=unquote(username), password=unquote(password))
    if parts.scheme == "unix":
        if hosts or not path.startswith("/") or "\0" in path:
            raise ValueError('url: names no socket: write it like "unix:///run/redis.sock?db=0"')
        return target._replace(addresses=(Address(path, 0),), database=_database("", parts))
    service, database = "", path.strip("/")
    if form == "sentinel":
        service, _, database = database.partition("/")
        if not service:
            raise ValueError(
                "url: names no master: write after the sentinels what they call it, like"
                ' "redis+sentinel://a:26379,b:26379/mymaster/0"'
            )
    port = _SENTINEL_PORT if service else _PORT
    addresses = tuple(dict.fromkeys(_address(host, port) for host in hosts.split(",")))
    if len(addresses) > 1 and not form:
        raise ValueError(
            "url: names more than one server: begin it with redis+cluster:// or redis+sentinel://"
        )
    number = _database(database, parts)
    return target._replace(addresses=addresses, service=service, database=number)


def _address(text: str, port: int) -> Address:
    host, written = text, ""
    if text.startswith("["):
        host, bracket, written = text[1:].partition("]")
        if not bracket or written[:1] not in ("", ":"):
            raise ValueError(f"url: can not be read: {_QUOTE}")
        written = written[1:]
    elif ":" in text:
        host, _, written = text.partition(":")
    if not host or any(not character.isprintable() or character == " " for character in host):
        raise ValueError(f"url: names no host: {_QUOTE}")
    if written and not (written.isascii() and written.isdigit() and 0 < int(written) <= _MOST_PORT):
        raise ValueError(f"url: has a port that is none: {_QUOTE}")
    return Address(unquote(host), int(written) if written else port)


def _database(text: str, parts: SplitResult) -> int:
    """Read the number of the database, from the path or as redis-py takes it from `db`."""
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name.startswith("ssl"):
            raise ValueError(
                "url: has TLS settings in it: use tls_ca_cert, tls_no_verify and so on"
            )
        if name in ("username", "password"):
            raise ValueError("url: names a user or password behind the ?: write it before the host")
        if name == "db":
            text = value
    if text and not (text.isascii() and text.isdigit()):
        raise ValueError(f"url: the number of its database is none: {_QUOTE}")
    return int(text or 0)

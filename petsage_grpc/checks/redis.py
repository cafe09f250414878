"""Knows whether Redis answers: one server, a whole cluster, or the master that sentinels name."""

import importlib
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from petsage_grpc.checks._redis_url import parse_url
from petsage_grpc.checks._tls import TlsSettings
from petsage_grpc.core.check import Check, CheckFailedError

if TYPE_CHECKING:
    from petsage_grpc.checks._redis_link import Links
    from petsage_grpc.checks._redis_many import Guides

__all__ = ["RedisCheck"]

_TURN_ON_TLS: Final = "write rediss instead of redis in url"


@dataclass(kw_only=True)
class RedisCheck(TlsSettings, Check):
    """Fails when Redis does not answer, or does not give back what was written to it."""

    url: str = field(
        repr=False,
        metadata={
            "help": 'where it is: "redis://user:password@cache:6379/0" (rediss for TLS),'
            ' "unix:///run/redis.sock", "redis+cluster://a:6379,b:6379" or'
            ' "redis+sentinel://a:26379,b:26379/mymaster/0"'
        },
    )
    username: str = field(default="", metadata={"help": "user, if not the one in url"})
    password: str = field(
        default="", repr=False, metadata={"help": "password, if not the one in url"}
    )
    sentinel_username: str = field(
        default="", metadata={"help": "user of the sentinels themselves, if they demand one"}
    )
    sentinel_password: str = field(
        default="",
        repr=False,
        metadata={"help": "password of the sentinels themselves, if they demand one"},
    )
    write: bool = field(
        default=False,
        metadata={"help": "write a key that lives for a minute and read it back, not only PING"},
    )
    key: str = field(
        default="petsage:health",
        metadata={"help": "how the keys begin that are written; something by chance follows"},
    )

    def __post_init__(self) -> None:
        """Refuse what can never work."""
        try:  # it takes too long for a run
            importlib.import_module("petsage_grpc.checks._redis_many")
        except ImportError:
            raise ValueError('redis: needs redis-py: pip install "petsage-grpc[redis]"') from None
        in_url = self.url.rpartition("@")[0].partition("://")[2].partition(":")[2]
        for secret in (self.url, in_url, self.password, self.sentinel_password):
            self.hide(secret)
        self._target = target = parse_url(self.url.strip())
        self.hide(target.password)
        if not self.key or not self.key.isprintable() or "{" in self.key:
            raise ValueError(
                f'key: {self.key!r} can not begin a key: write it like "petsage:health", without {{'
            )
        if not target.service and (self.sentinel_username or self.sentinel_password):
            given = "sentinel_username" if self.sentinel_username else "sentinel_password"
            raise ValueError(f"{given}: means nothing without redis+sentinel:// in url")
        self.load_tls(used=target.tls, turn_on=_TURN_ON_TLS)
        self._id = secrets.token_hex(4)
        self._links: Links | None = None
        self._guides: Guides | None = None

    async def run(self) -> None:
        """Have all answer that must; write and read back if that is wanted."""
        from petsage_grpc.checks import _redis_link, _redis_many  # noqa: PLC0415 -- need the driver

        target = self._target
        login = _redis_link.Login(
            self.username or target.username, self.password or target.password, target.database
        )
        if self._links is None:
            self._links = _redis_link.Links(self if target.tls else None, self._say)
            of_guides = login
            if target.service:
                of_guides = _redis_link.Login(
                    self.sentinel_username, self.sentinel_password, setting="sentinel_password"
                )
            self._guides = _redis_many.Guides(self._links, target, of_guides)
        assert self._guides is not None
        self._links.quiet()
        key = f"{self.key}:{self._id}" if self.write else ""
        try:
            if target.cluster:
                await _redis_many.prove_cluster(self._guides, key)
            elif target.service:
                await _redis_many.prove_by_sentinels(self._guides, login, key)
            else:
                await _redis_link.prove(self._links.to(target.addresses[0], login), key)
        except CheckFailedError as error:
            raise CheckFailedError(self.redact(str(error))) from None

    def _say(self, doing: str) -> None:
        self.doing = doing

    async def close(self) -> None:
        """Give back all connections."""
        if self._links is not None:
            await self._links.close()
            self._links = self._guides = None

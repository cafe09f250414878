"""The redis check refuses settings that can never work, in a text that shows no secret."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from petsage_grpc.checks._redis_url import Address, Target, parse_url
from petsage_grpc.checks.redis import RedisCheck
from petsage_grpc.errors import SettingsError
from petsage_grpc.settings_load import load_settings

SECRET = "very-secret"


def at(*places: tuple[str, int], **others: Any) -> Target:
    return Target(tuple(Address(*place) for place in places), **others)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("redis://cache", at(("cache", 6379))),
        ("redis://cache:1/", at(("cache", 1))),
        ("redis://cache/2", at(("cache", 6379), database=2)),
        ("redis://cache?db=2&socket_timeout=5", at(("cache", 6379), database=2)),
        ("redis://[::1]:1", at(("::1", 1))),
        ("redis://[::1]", at(("::1", 6379))),
        ("rediss://cache", at(("cache", 6379), tls=True)),
        ("REDIS://cache", at(("cache", 6379))),
        ("redis://a:b@cache", at(("cache", 6379), username="a", password="b")),
        ("redis://:b%40%2F%3a@cache", at(("cache", 6379), password="b@/:")),
        ("redis://:b@c@cache", at(("cache", 6379), password="b@c")),
        ("unix:///run/a%20b.sock", at(("/run/a b.sock", 0))),
        (
            "unix://a:b@/run/redis.sock?db=3",
            at(("/run/redis.sock", 0), username="a", password="b", database=3),
        ),
        ("redis+cluster://a:1,b,[::1]:3", at(("a", 1), ("b", 6379), ("::1", 3), cluster=True)),
        ("rediss+cluster://a,a", at(("a", 6379), cluster=True, tls=True)),
        (
            "redis+sentinel://:b@a:1,c/orders/2",
            at(("a", 1), ("c", 26379), service="orders", database=2, password="b"),
        ),
        ("rediss+sentinel://a/my%20orders", at(("a", 26379), service="my orders", tls=True)),
    ],
)
def test_a_url_is_read(url: str, target: Target) -> None:
    assert parse_url(url) == target


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("", "must begin with redis://, "),
        ("cache:6379", "must begin with redis://, "),
        (f"http://:{SECRET}@cache", "must begin with redis://, "),
        ("redis+x://cache", "must begin with redis://, "),
        ("redis://", "names no host: "),
        ("redis:cache", "names no host: "),
        (f"redis://:{SECRET}@", "names no host: "),
        ("redis://ca che", "names no host: "),
        ("redis://:6379", "names no host: "),
        ("redis+cluster://a,,b", "names no host: "),
        (f"redis://:{SECRET}/x@cache", "names no host: "),
        (f"redis://a:{SECRET}/x@cache", "has a port that is none: "),
        ("redis://cache:0", "has a port that is none: "),
        ("redis://cache:65536", "has a port that is none: "),
        ("redis://cache:²", "has a port that is none: "),
        (f"redis://:x#{SECRET}@cache", "has a # in it: "),
        (f"redis://[{SECRET}", "can not be read: "),
        ("redis+cluster://[::1,b]:6379", "can not be read: "),
        ("redis://[::1]x", "can not be read: "),
        (f"redis://cache/{SECRET}", "the number of its database is none: "),
        ("redis://cache/-1", "the number of its database is none: "),
        ("redis://cache?db=x", "the number of its database is none: "),
        ("redis://cache?ssl_cert_reqs=none", "has TLS settings in it: use tls_ca_cert"),
        (f"redis://cache?password={SECRET}", "names a user or password behind the ?: "),
        ("redis://a,b", "names more than one server: begin it with redis+cluster:// or "),
        ("redis+sentinel://a", "names no master: write after the sentinels what they call it"),
        ("redis+sentinel://a/x/y", "the number of its database is none: "),
        ("unix://run/redis.sock", "names no socket: write it like "),
        ("unix://", "names no socket: write it like "),
        ("unix:///a%00b", "names no socket: write it like "),
    ],
)
def test_a_url_that_leads_nowhere_is_refused_without_showing_it(url: str, text: str) -> None:
    with pytest.raises(ValueError, match=r"^url: ") as refused:
        RedisCheck(url=url)
    assert str(refused.value).startswith(f"url: {text}")
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"key": ""}, "key: '' can not begin a key: "),
        ({"key": "a\nb"}, r"key: 'a\nb' can not begin a key: "),
        ({"key": "{a}"}, "key: '{a}' can not begin a key: "),
        ({"sentinel_username": "a"}, "sentinel_username: means nothing without redis+sentinel://"),
        ({"sentinel_password": "a"}, "sentinel_password: means nothing without redis+sentinel://"),
        ({"tls_no_verify": True}, "tls_no_verify: means nothing without TLS: write rediss "),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=r"^\w+: ") as refused:
        RedisCheck(url="redis://cache", **settings)
    assert str(refused.value).startswith(text)


def test_what_is_secret_is_hidden() -> None:
    url = f"redis+sentinel://a:{SECRET}%40@cache/orders"
    check = RedisCheck(url=url, password="other-secret", sentinel_password="third-secret")
    shown: Callable[[str], str] = check.redact
    for secret in (url, f"{SECRET}@", f"{SECRET}%40", "other-secret", "third-secret"):
        assert "secret" not in shown(f"that is {secret}.")
        assert secret not in repr(check)


def test_a_file_can_have_all_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "petsage.toml"
    file.write_text(
        "[checks.cache]\nkind = 'redis'\nurl = '${CACHE_URL}'\nwrite = true\nkey = 'orders'\n"
        "username = 'a'\npassword = 'b'\n"
    )
    check = load_settings(file, environ={"CACHE_URL": "redis://cache"}).checks["cache"].check
    assert check == RedisCheck(
        url="redis://cache", write=True, key="orders", username="a", password="b"
    )
    with pytest.raises(SettingsError) as refused:
        load_settings(file, environ={"CACHE_URL": f"redis://:{SECRET}/@cache"})
    assert str(refused.value).startswith(f"{file}: checks.cache.url: names no host: ")

"""What --cache-config asks for, and what is refused."""

from __future__ import annotations

import pytest

from pyserver.cache_settings import CacheSettings, RedisSettings, cache_settings


def test_none() -> None:
    assert cache_settings(()) is None
    assert cache_settings([("local", "size", "0")]) is None


def test_local() -> None:
    assert cache_settings([("local", "size", "1048576")]) == CacheSettings(byte_size=1 << 20)


def test_redis_with_its_environment() -> None:
    environment = {"TRITONCACHE_REDIS_USERNAME": "me", "TRITONCACHE_REDIS_PASSWORD": "secret"}
    made = cache_settings(
        [("redis", "host", "cache.local"), ("redis", "port", "7000"), ("redis", "db", "2")],
        environment,
    )
    assert made is not None
    assert made.redis == RedisSettings(
        host="cache.local", port=7000, user="me", password="secret", db=2
    )


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ([("", "size", "1")], "needs the name of a cache"),
        ([("local", "size", "1"), ("redis", "host", "h")], "names 2 caches"),
        ([("disk", "size", "1")], "names the cache 'disk'; there are 'local' and 'redis'"),
        ([("local", "length", "1")], "has 'length' for the cache 'local', which takes size"),
        ([("local", "size", "big")], "needs a whole number for local,size=, not 'big'"),
        ([("local", "size", "-1")], "needs a whole number"),
        ([("redis", "port", "6379")], "needs a host for the Redis cache"),
        ([("redis", "host", "h"), ("redis", "port", "x")], "needs a whole number for redis,port="),
    ],
)
def test_refused(given: list[tuple[str, str, str]], text: str) -> None:
    with pytest.raises(ValueError, match=text.replace("'", ".")):
        cache_settings(given)

"""What `--cache-config` asks for: the response cache in core's memory, and behind it perhaps a
Redis that several servers share."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pyserver.settings import NamedSetting

# What a cache in Redis holds in core's own memory when nothing else is said: answers are read from
# there while they go out, and those asked for often stay.
DEFAULT_NEAR_BYTES: Final = 64 << 20

_LOCAL_KEYS: Final = ("size",)
_REDIS_KEYS: Final = (
    "host",
    "port",
    "user",
    "password",
    "db",
    "wait_timeout",
    "tls_enabled",
    "cacert",
    "cert",
    "key",
    "size",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisSettings:
    """A Redis server. `wait_timeout_s`: how long a request waits for it before it is executed."""

    host: str
    port: int = 6379
    user: str = ""
    password: str = ""
    db: int = 0
    wait_timeout_s: float = 1.0
    tls: bool = False
    ca_certificate: str = ""
    certificate: str = ""
    certificate_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """`byte_size`: what answers may take of core's region."""

    byte_size: int
    redis: RedisSettings | None = None


def cache_settings(
    config: Iterable[NamedSetting], environment: Mapping[str, str] = os.environ
) -> CacheSettings | None:
    """The cache that the settings name; None without any. Raises ValueError with what is wrong."""
    given: dict[str, dict[str, str]] = {}
    for name, key, value in config:
        given.setdefault(name, {})[key] = value
    if not given:
        return None
    if "" in given:
        raise ValueError("needs the name of a cache: --cache-config=<cache>,<key>=<value>")
    if len(given) > 1:
        raise ValueError(f"names {len(given)} caches; one server has one")
    ((name, options),) = given.items()
    if name == "local":
        return _local(options)
    if name == "redis":
        return _redis(options, environment)
    raise ValueError(f"names the cache '{name}'; there are 'local' and 'redis'")


def _known(name: str, options: Mapping[str, str], keys: tuple[str, ...]) -> None:
    for key in options:
        if key not in keys:
            raise ValueError(f"has '{key}' for the cache '{name}', which takes {', '.join(keys)}")


def _number(name: str, options: Mapping[str, str], key: str, default: int) -> int:
    text = options.get(key)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"needs a whole number for {name},{key}=, not {text!r}")
    return int(text)


def _local(options: Mapping[str, str]) -> CacheSettings | None:
    _known("local", options, _LOCAL_KEYS)
    if "size" not in options:
        raise ValueError("needs a size for the local cache: --cache-config=local,size=<bytes>")
    size = _number("local", options, "size", 0)
    return CacheSettings(byte_size=size) if size > 0 else None


def _redis(options: Mapping[str, str], environment: Mapping[str, str]) -> CacheSettings:
    _known("redis", options, _REDIS_KEYS)
    if not options.get("host"):
        raise ValueError("needs a host for the Redis cache: --cache-config=redis,host=<host>")
    return CacheSettings(
        byte_size=_number("redis", options, "size", DEFAULT_NEAR_BYTES) or DEFAULT_NEAR_BYTES,
        redis=RedisSettings(
            host=options["host"],
            port=_number("redis", options, "port", 6379),
            user=options.get("user") or environment.get("TRITONCACHE_REDIS_USERNAME", ""),
            password=options.get("password") or environment.get("TRITONCACHE_REDIS_PASSWORD", ""),
            db=_number("redis", options, "db", 0),
            wait_timeout_s=_number("redis", options, "wait_timeout", 1000) / 1000,
            tls=options.get("tls_enabled", "").lower() in ("true", "1", "yes"),
            ca_certificate=options.get("cacert", ""),
            certificate=options.get("cert", ""),
            certificate_key=options.get("key", ""),
        ),
    )

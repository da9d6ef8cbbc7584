"""Leaky buckets: tokens are poured in by requests and run out at a steady rate; what does not fit has to wait.

A request for more than the whole bucket goes when the bucket is empty, and fills it past its brim: it can be
told when its turn will come, and the rate over time is the leak's all the same.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ..errors import ConfigError, Unavailable

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from ..config import SecretUrl

PATIENCE = 0.5
"""Seconds that Redis gets for an answer."""
SWEEP_EVERY = 60.0


@dataclass(frozen=True, slots=True)
class Bucket:
    """`capacity` tokens fit in, `leak` tokens run out every second."""

    capacity: int
    leak: float


@dataclass(frozen=True, slots=True)
class Level:
    """A bucket after a request: whether it fitted, what is in there, and in how many seconds it would fit."""

    fits: bool
    tokens: float
    wait: float = 0.0


class Buckets(Protocol):
    """Buckets by name. Both verbs are atomic, however many requests come at once."""

    async def pour(self, name: str, tokens: int, bucket: Bucket) -> Level:
        """Pour `tokens` in if they fit, or nothing. Raises `Unavailable` if the store does not answer."""

    async def give_back(self, name: str, tokens: int, bucket: Bucket) -> None:
        """Take out what was poured in for nothing. Raises `Unavailable`."""


class LocalBuckets:
    """Buckets of one process. `clock` is in seconds, of any start, and never goes back."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._empty_at: dict[str, float] = {}
        self._sweep_at = 0.0

    async def pour(self, name: str, tokens: int, bucket: Bucket) -> Level:
        """See `Buckets`."""
        level = self._level(name, bucket)
        over = level + min(tokens, bucket.capacity) - bucket.capacity
        if over > 0:
            return Level(False, level, over / bucket.leak)
        self._fill(name, level + tokens, bucket)
        return Level(True, level + tokens)

    async def give_back(self, name: str, tokens: int, bucket: Bucket) -> None:
        """See `Buckets`."""
        self._fill(name, self._level(name, bucket) - tokens, bucket)

    def _level(self, name: str, bucket: Bucket) -> float:
        now = self._clock()
        return max(0.0, (self._empty_at.get(name, now) - now) * bucket.leak)

    def _fill(self, name: str, level: float, bucket: Bucket) -> None:
        now = self._clock()
        self._empty_at[name] = now + level / bucket.leak
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_EVERY
            self._empty_at = {name: at for name, at in self._empty_at.items() if at > now}


class RedisBuckets:
    """Buckets in Redis, for all processes that share it, by Redis's own clock. Needs the extra `cluster`."""

    def __init__(self, redis: Redis, *, prefix: str = "llmgate:bucket:") -> None:
        self._script = redis.register_script(_POUR)
        self._prefix = prefix

    async def pour(self, name: str, tokens: int, bucket: Bucket) -> Level:
        """See `Buckets`."""
        fits, level, wait = await self._run(name, tokens, bucket)
        return Level(bool(fits), float(level), float(wait))

    async def give_back(self, name: str, tokens: int, bucket: Bucket) -> None:
        """See `Buckets`."""
        await self._run(name, -tokens, bucket)

    async def _run(self, name: str, tokens: int, bucket: Bucket) -> tuple[int, bytes, bytes]:
        from redis.exceptions import RedisError  # noqa: PLC0415 - an extra

        try:
            answer: tuple[int, bytes, bytes] = await self._script(
                keys=[self._prefix + name], args=[tokens, bucket.capacity, bucket.leak]
            )
        except (RedisError, OSError) as error:
            raise Unavailable("Rate limits cannot be checked at the moment. Try again later.") from error
        return answer


_POUR = """
local tokens, capacity, leak = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local level = math.max(0, ((tonumber(redis.call('GET', KEYS[1])) or now) - now) * leak)
local over = level + math.min(tokens, capacity) - capacity
if tokens > 0 and over > 0 then
  return {0, string.format('%.17g', level), string.format('%.17g', over / leak)}
end
level = math.max(0, level + tokens)
local lasts = level / leak
redis.call('SET', KEYS[1], string.format('%.17g', now + lasts), 'PX', math.ceil(lasts * 1000) + 1)
return {1, string.format('%.17g', level), '0'}
"""


@asynccontextmanager
async def open_buckets(url: SecretUrl | None) -> AsyncIterator[Buckets]:
    """Buckets in the Redis at `url`, or without one in the memory of this process.

    Raises `ConfigError` if the client for Redis is not installed.
    """
    if url is None:
        yield LocalBuckets()
        return
    try:
        from redis.asyncio import Redis  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigError(
            ["redis.url: Redis needs its client: `pip install '.[cluster]'` in a checkout of llmgate"]
        ) from error
    redis = Redis.from_url(url.reveal(), socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE)
    try:
        yield RedisBuckets(redis)
    finally:
        await redis.aclose()

"""Windows, buckets and slots that the workers of every host share, in Redis, over one connection of a process.

Each look at them is one round trip. While Redis does not answer they raise `StoreError`, and whoever asked
decides (see `ratelimit.limit`). Time is that of the Redis server: hosts' clocks differ.
"""

from __future__ import annotations

import logging
import secrets
from collections import defaultdict
from itertools import count
from typing import cast

from ..background import repeat
from ..errors import StoreError
from .leaky_bucket import Level
from .redis_pipe import RedisPipe, Script
from .strategies import Window, WindowStorage

log = logging.getLogger("llmgate")

PREFIX = "llmgate"
TIMEOUT_S = 0.5
LEASE_S = 15.0
"""Seconds after which the slots of a worker that does not renew them are free: it died, or is cut off."""
RENEW_INTERVAL_S = 5.0


_NOW = "local now = redis.call('TIME'); now = now[1] + now[2] / 1000000\n"
# What is left of a window is more than its length only where the server's clock was set back.
_COUNT = Script(
    """
local used = redis.call('INCRBY', KEYS[1], ARGV[1])
local left, span = redis.call('PTTL', KEYS[1]), tonumber(ARGV[2])
if left < 0 or left > span then
    redis.call('PEXPIRE', KEYS[1], span)
    left = span
end
return {used, left}
"""
)
_PEEK = Script("return {tonumber(redis.call('GET', KEYS[1]) or 0), redis.call('PTTL', KEYS[1])}")
# A moving window is a list of the times of its entries, newest first and no longer than the limit.
_ENTER = Script(
    f"""{_NOW}
local limit, span, amount = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local newest = tonumber(redis.call('LINDEX', KEYS[1], 0) or 0)
if newest > now + 1 then redis.call('DEL', KEYS[1]) end
local good = amount <= limit
if good and amount > 0 then
    local oldest = tonumber(redis.call('LINDEX', KEYS[1], limit - amount))
    good = not (oldest and oldest > now - span)
    if good then
        for _ = 1, amount do redis.call('LPUSH', KEYS[1], string.format('%.6f', now)) end
        redis.call('LTRIM', KEYS[1], 0, limit - 1)
        redis.call('PEXPIRE', KEYS[1], span * 1000)
    end
end
local found, first = 0, now
for _, at in ipairs(redis.call('LRANGE', KEYS[1], 0, limit - 1)) do
    if tonumber(at) <= now - span then break end
    found, first = found + 1, tonumber(at)
end
return {{good and 1 or 0, found, math.floor((first + span - now) * 1000)}}
"""
)
_POUR = Script(
    f"""{_NOW}
local tokens, capacity, leak = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local level = math.max(0, ((tonumber(redis.call('GET', KEYS[1])) or now) - now) * leak)
local over = level + math.min(tokens, capacity) - capacity
if tokens > 0 and over > 0 then
    return {{0, string.format('%.17g', level), string.format('%.17g', over / leak)}}
end
level = math.max(0, level + tokens)
local lasts = level / leak
redis.call('SET', KEYS[1], string.format('%.17g', now + lasts), 'PX', math.ceil(lasts * 1000) + 1)
return {{1, string.format('%.17g', level), '0'}}
"""
)
# A slot is a member of a sorted set, scored by when its lease ends.
_ACQUIRE = Script(
    f"""{_NOW}
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[3])
redis.call('PEXPIRE', KEYS[1], math.ceil(ARGV[1] * 1000))
return 1
"""
)
_RENEW = Script(
    f"""{_NOW}
for index = 2, #ARGV do redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[index]) end
redis.call('PEXPIRE', KEYS[1], math.ceil(ARGV[1] * 1000))
return #ARGV - 1
"""
)


class RedisStorage(WindowStorage):
    """Windows and buckets in the Redis at `uri`, under keys that begin with `prefix`. Raises `StoreError`.

    It need not be up: what asks it fails until it is. `timeout` is in seconds.
    """

    STORAGE_SCHEME = ["async+llmgate-redis", "async+llmgate-rediss"]  # noqa: RUF012 - the registry reads it

    def __init__(self, uri: str, *, prefix: str = PREFIX, timeout: float = TIMEOUT_S) -> None:
        super().__init__(uri)
        self.pipe = RedisPipe(uri.removeprefix("async+llmgate-"), timeout=timeout)
        self._prefix = f"{prefix}:windows:"

    async def count(self, key: str, seconds: float, amount: int = 1) -> Window:
        """See `Windows`."""
        return _window(await self.pipe.eval(_COUNT, self._prefix + key, amount, int(seconds * 1000)))

    async def peek(self, key: str) -> Window:
        """See `Windows`."""
        return _window(await self.pipe.eval(_PEEK, self._prefix + key))

    async def enter(self, key: str, limit: int, seconds: int, amount: int = 1) -> tuple[bool, Window]:
        """See `Windows`."""
        reply = await self.pipe.eval(_ENTER, self._prefix + key, limit, seconds, amount)
        good, *window = cast("tuple[int, int, int]", reply)
        return good == 1, _window(window)

    async def pour(self, key: str, tokens: int, capacity: int, leak: float) -> Level:
        """See `BucketStorage`."""
        reply = await self.pipe.eval(_POUR, self._prefix + key, tokens, capacity, leak)
        fits, level, wait = cast("tuple[int, bytes, bytes]", reply)
        return Level(bool(fits), float(level), float(wait))

    async def check(self) -> bool:
        """See `limits`."""
        return await self.pipe.run("PING") == b"PONG"

    async def reset(self) -> None:
        """See `limits`: not here, where others count as well."""
        raise NotImplementedError

    async def clear(self, key: str) -> None:
        """See `limits`."""
        await self.pipe.run("DEL", self._prefix + key)

    async def aclose(self) -> None:
        """Let the connection go."""
        await self.pipe.aclose()


def _window(reply: object) -> Window:
    """What Redis says in counts and milliseconds from now."""
    used, left = cast("tuple[int, int]", reply)
    return Window(used, max(0, left) / 1000)


class RedisSlots:
    """Slots that every worker counts, each on a lease that its worker renews for as long as it lives."""

    def __init__(self, redis: RedisPipe, *, prefix: str = PREFIX, lease: float = LEASE_S) -> None:
        self._redis = redis
        self._prefix = f"{prefix}:slots:"
        self._lease = lease
        self._worker, self._number = secrets.token_hex(8), count()
        self._held: defaultdict[str, list[str]] = defaultdict(list)

    async def acquire(self, name: str, amount: int) -> bool:
        """Take one of `amount` slots; False if all are taken. Raises `StoreError`."""
        slot = f"{self._worker}:{next(self._number)}"
        if await self._redis.eval(_ACQUIRE, self._prefix + name, self._lease, amount, slot) != 1:
            return False
        self._held[name].append(slot)
        return True

    async def release(self, name: str) -> None:
        """Give one back. If Redis does not hear of it, the lease ends by itself."""
        slot = self._held[name].pop()
        if not self._held[name]:
            del self._held[name]
        try:
            await self._redis.run("ZREM", self._prefix + name, slot)
        except StoreError as error:
            log.warning("a slot stays taken for up to %g s: %s", self._lease, error)

    async def renew(self) -> None:
        """Extend the leases of all slots that are held here. Raises `StoreError`."""
        for name, slots in list(self._held.items()):
            await self._redis.eval(_RENEW, self._prefix + name, self._lease, *slots)

    async def renew_often(self) -> None:
        """Renew for ever; what could not be renewed is tried again.

        Redis is asked even where nothing is held: that it is away is known before a request needs it.
        """

        async def renew() -> None:
            await self._redis.run("PING")
            await self.renew()

        def failed(error: Exception) -> None:
            if self._held:
                log.warning("leases of slots are not renewed: %s", error)

        await repeat(renew, RENEW_INTERVAL_S, at_once=True, failed={StoreError: failed})

"""Rate-limit windows and slots that the workers of every host share, in Redis.

Each look at them is one round trip. While Redis does not answer they raise `StoreError`, and whoever asked
decides (see `middleware.ratelimit`). Time is that of the Redis server: hosts' clocks differ.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha1
from importlib.util import find_spec
from itertools import count
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from ..errors import ConfigError, StoreError
from .windows import Window

if TYPE_CHECKING:
    from .availability import Availability
    from .redis_pipe import RedisPipe

log = logging.getLogger("llmgate")

PREFIX = "llmgate"
TIMEOUT = 0.5
LEASE = 15.0
"""Seconds after which the slots of a worker that does not renew them are free: it died, or is cut off."""
RENEW_EVERY = 5.0


class Script:
    """A Lua script, which Redis keeps under its digest."""

    def __init__(self, source: str) -> None:
        self.source: Final = source
        self.digest: Final = sha1(source.encode(), usedforsecurity=False).hexdigest()


_NOW = "local now = redis.call('TIME'); now = now[1] + now[2] / 1000000\n"
_COUNT = Script(
    """
local used = redis.call('INCRBY', KEYS[1], ARGV[1])
if used == tonumber(ARGV[1]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return {used, redis.call('PTTL', KEYS[1])}
"""
)
_LOOK = Script("return {tonumber(redis.call('GET', KEYS[1]) or 0), redis.call('PTTL', KEYS[1])}")
# A moving window is a list of the times of its entries, newest first and no longer than the limit.
_ENTER = Script(
    f"""{_NOW}
local limit, span = tonumber(ARGV[1]), tonumber(ARGV[2])
local oldest = tonumber(redis.call('LINDEX', KEYS[1], limit - 1))
local good = not (oldest and oldest > now - span)
if good then
    redis.call('LPUSH', KEYS[1], string.format('%.6f', now))
    redis.call('LTRIM', KEYS[1], 0, limit - 1)
    redis.call('PEXPIRE', KEYS[1], span * 1000)
end
local found, first = 0, now
for _, at in ipairs(redis.call('LRANGE', KEYS[1], 0, limit - 1)) do
    if tonumber(at) <= now - span then break end
    found, first = found + 1, tonumber(at)
end
return {{good and 1 or 0, found, math.floor((first + span - now) * 1000)}}
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


class RedisWindows:
    """Windows in Redis (see `windows.Windows`). Raises `StoreError` while it does not answer."""

    def __init__(
        self, redis: RedisPipe, *, prefix: str = PREFIX, clock: Callable[[], float] = time.time
    ) -> None:
        self._redis = redis
        self._prefix = f"{prefix}:windows:"
        self._clock = clock

    async def count(self, key: str, seconds: float, amount: int = 1) -> Window:
        """See `Windows`."""
        return self._window(await self._redis.eval(_COUNT, self._prefix + key, amount, int(seconds * 1000)))

    async def look(self, key: str) -> Window:
        """See `Windows`."""
        return self._window(await self._redis.eval(_LOOK, self._prefix + key))

    async def enter(self, key: str, limit: int, seconds: int) -> tuple[bool, Window]:
        """See `Windows`."""
        reply = await self._redis.eval(_ENTER, self._prefix + key, limit, seconds)
        good, *window = cast("tuple[int, int, int]", reply)
        return good == 1, self._window(window)

    def _window(self, reply: object) -> Window:
        """What Redis says in counts and milliseconds from now, on the clock of this host."""
        used, left = cast("tuple[int, int]", reply)
        return Window(used, self._clock() + max(0, left) / 1000)


class RedisSlots:
    """Slots that every worker counts, each on a lease that its worker renews for as long as it lives."""

    def __init__(self, redis: RedisPipe, *, prefix: str = PREFIX, lease: float = LEASE) -> None:
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
        while True:
            try:
                await self._redis.run("PING")
                await self.renew()
            except StoreError as error:
                if self._held:
                    log.warning("leases of slots are not renewed: %s", error)
            await asyncio.sleep(RENEW_EVERY)


class Shared(NamedTuple):
    """What several workers count together."""

    windows: RedisWindows
    slots: RedisSlots
    availability: Availability


@asynccontextmanager
async def open_redis(
    url: str, *, timeout: float = TIMEOUT, prefix: str = PREFIX, clock: Callable[[], float] = time.time
) -> AsyncIterator[Shared]:
    """Windows and slots in the Redis at `url`, under keys that begin with `prefix`.

    It need not be up: what asks it fails until it is. `timeout` is in seconds. Raises `ConfigError` if the
    package for it is not installed.
    """
    if find_spec("hiredis") is None:
        raise ConfigError(
            ["redis.url: Redis needs hiredis: `pip install '.[cluster]'` in a checkout of llmgate"]
        )
    from .redis_pipe import RedisPipe  # noqa: PLC0415 - needs the extra `cluster`

    redis = RedisPipe(url, timeout=timeout)
    slots = RedisSlots(redis, prefix=prefix)
    renewing = asyncio.create_task(slots.renew_often(), name="llmgate-slots")
    try:
        yield Shared(RedisWindows(redis, prefix=prefix, clock=clock), slots, redis.availability)
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        await redis.aclose()

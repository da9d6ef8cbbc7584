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

from limits.aio.storage import MovingWindowSupport, Storage

from ..errors import ConfigError, StoreError

if TYPE_CHECKING:
    from .redis_pipe import RedisPipe

log = logging.getLogger("llmgate")

PREFIX = "llmgate"
TIMEOUT = 0.5
LEASE = 15.0
"""Seconds after which the slots of a worker that does not renew them are free: it died, or is cut off."""
RENEW_EVERY = 5.0
SWEEP_EVERY = 60.0


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
_USED = Script("return {tonumber(redis.call('GET', KEYS[1]) or 0), redis.call('PTTL', KEYS[1])}")
# A moving window is a list of the times of its entries, newest first and no longer than the limit.
_ENTER = Script(
    f"""{_NOW}
local limit, span, amount = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if amount > limit then return 0 end
local oldest = redis.call('LINDEX', KEYS[1], limit - amount)
if oldest and tonumber(oldest) > now - span then return 0 end
for _ = 1, amount do redis.call('LPUSH', KEYS[1], string.format('%.6f', now)) end
redis.call('LTRIM', KEYS[1], 0, limit - 1)
redis.call('PEXPIRE', KEYS[1], span * 1000)
return 1
"""
)
_WITHIN = Script(
    f"""{_NOW}
local entries, found, oldest = redis.call('LRANGE', KEYS[1], 0, ARGV[1] - 1), 0, now
for _, at in ipairs(entries) do
    if tonumber(at) <= now - ARGV[2] then break end
    found, oldest = found + 1, tonumber(at)
end
return {{found, math.floor((now - oldest) * 1000)}}
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


class RedisWindows(Storage, MovingWindowSupport):
    """A storage of the `limits` library in Redis. Raises `StoreError` while Redis does not answer."""

    STORAGE_SCHEME = None

    def __init__(
        self, redis: RedisPipe, *, prefix: str = PREFIX, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__()
        self._redis = redis
        self._prefix = f"{prefix}:windows:"
        self._clock = clock
        self._ends: dict[str, float] = {}
        self._sweep_at = 0.0

    @property
    def base_exceptions(self) -> type[Exception]:
        """What is raised when Redis does not answer."""
        return StoreError

    async def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count `amount` in the window of `key`; the first one opens it for `expiry` seconds."""
        return self._note(key, await self._redis.eval(_COUNT, self._prefix + key, amount, int(expiry * 1000)))

    async def get(self, key: str) -> int:
        """What was counted in the window that is open."""
        return self._note(key, await self._redis.eval(_USED, self._prefix + key))

    async def get_expiry(self, key: str) -> float:
        """When the window ends, in seconds since the epoch; now if none is open.

        A window does not move once it is open, so what `incr` and `get` were told need not be asked again.
        """
        if self._ends.get(key, 0.0) <= self._clock():
            await self.get(key)
        return max(self._clock(), self._ends.get(key, 0.0))

    def _note(self, key: str, reply: object) -> int:
        used, left = cast("tuple[int, int]", reply)
        now = self._clock()
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_EVERY
            self._ends = {key: end for key, end in self._ends.items() if end > now}
        self._ends[key] = now + max(0, left) / 1000
        return used

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Note `amount` entries unless more than `limit` would lie within the last `expiry` seconds."""
        return await self._redis.eval(_ENTER, self._prefix + key, limit, expiry, amount) == 1

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """When the oldest entry of the last `expiry` seconds was noted (now, if there is none), and how many."""
        reply = await self._redis.eval(_WITHIN, self._prefix + key, limit, expiry)
        found, age = cast("tuple[int, int]", reply)
        return self._clock() - age / 1000, found

    async def check(self) -> bool:
        """Whether Redis answers."""
        return await self._redis.run("PING") == b"PONG"

    async def reset(self) -> int:
        """Windows are not forgotten all at once: other gates may use this Redis."""
        raise NotImplementedError("clear the keys that are meant")

    async def clear(self, key: str) -> None:
        """Forget one key."""
        self._ends.pop(key, None)
        await self._redis.run("DEL", self._prefix + key)


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
        """Renew for ever; what could not be renewed is tried again."""
        while True:
            await asyncio.sleep(RENEW_EVERY)
            try:
                await self.renew()
            except StoreError as error:
                log.warning("leases of slots are not renewed: %s", error)


class Shared(NamedTuple):
    """What several workers count together."""

    windows: RedisWindows
    slots: RedisSlots


@asynccontextmanager
async def open_redis(
    url: str, *, timeout: float = TIMEOUT, prefix: str = PREFIX, clock: Callable[[], float] = time.time
) -> AsyncIterator[Shared]:
    """Windows and slots in the Redis at `url`, under keys that begin with `prefix`.

    It need not be up: what asks it fails until it is. `timeout` is in seconds. Raises `ConfigError` if the
    package for it is not installed.
    """
    if find_spec("hiredis") is None:
        raise ConfigError(["redis.url: Redis needs hiredis: install `llmgate[cluster]`"])
    from .redis_pipe import RedisPipe  # noqa: PLC0415 - needs the extra `cluster`

    redis = RedisPipe(url, timeout=timeout)
    slots = RedisSlots(redis, prefix=prefix)
    renewing = asyncio.create_task(slots.renew_often(), name="llmgate-slots")
    try:
        yield Shared(RedisWindows(redis, prefix=prefix, clock=clock), slots)
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        await redis.aclose()

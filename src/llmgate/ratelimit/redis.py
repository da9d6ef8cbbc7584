"""Windows, buckets and slots that the workers of every host share, in Redis, over one connection of a process.

Each look at them is one round trip. While Redis does not answer they raise `StoreError`, and whoever asked
decides (see `ratelimit.limit`). Time is that of the Redis server: hosts' clocks differ.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import defaultdict
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, cast

from ..background import repeat
from ..errors import StoreError
from .leaky_bucket import Level
from .redis_pipe import RedisPipe, Script
from .strategies import Window, WindowStorage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .redis_pipe import Failed, Word
    from .strategies import Step

log = logging.getLogger("llmgate")

PREFIX = "llmgate"
MAX_COUNT = 2**53
"""What is counted without a limit. Lua's numbers are exact up to here."""
TIMEOUT_S = 0.5
LEASE_S = 15.0
"""Seconds after which the slots of a worker that does not renew them are free: it died, or is cut off."""
RENEW_INTERVAL_S = 5.0


_NOW = "local now = redis.call('TIME'); now = now[1] + now[2] / 1000000\n"
# Steps, of four arguments each, in their order up to the first that its limit refuses. What is left of a window is
# more than its length only where the server's clock was set back. A moving window is a list of the times of its
# entries, newest first and no longer than the limit. A slot is a member of a sorted set, scored by when its lease ends.
_ADMIT = Script(
    """
local verbs, acquired = {}, {}
function verbs.acquire(key, limit, lease, slot)
    local now = redis.call('TIME')
    now = now[1] + now[2] / 1000000
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
    if redis.call('ZCARD', key) >= limit then return false, limit, 0 end
    redis.call('ZADD', key, now + lease / 1000, slot)
    redis.call('PEXPIRE', key, lease)
    acquired[#acquired + 1] = {key, slot}
    return true, 0, 0
end
function verbs.count(key, limit, span, amount)
    local used, left = redis.call('INCRBY', key, amount), redis.call('PTTL', key)
    if left < 0 or left > span then
        redis.call('PEXPIRE', key, span)
        left = span
    end
    return used <= limit, used, left
end
function verbs.peek(key, limit)
    local used = tonumber(redis.call('GET', key) or 0)
    return used < limit, used, redis.call('PTTL', key)
end
function verbs.enter(key, limit, span, amount)
    local now = redis.call('TIME')
    now, span = now[1] + now[2] / 1000000, span / 1000
    local newest = tonumber(redis.call('LINDEX', key, 0) or 0)
    if newest > now + 1 then redis.call('DEL', key) end
    local good = amount <= limit
    if good and amount > 0 then
        local oldest = tonumber(redis.call('LINDEX', key, limit - amount))
        good = not (oldest and oldest > now - span)
        if good then
            for _ = 1, amount do redis.call('LPUSH', key, string.format('%.6f', now)) end
            redis.call('LTRIM', key, 0, limit - 1)
            redis.call('PEXPIRE', key, span * 1000)
        end
    end
    local found, first = 0, now
    for _, at in ipairs(redis.call('LRANGE', key, 0, limit - 1)) do
        if tonumber(at) <= now - span then break end
        found, first = found + 1, tonumber(at)
    end
    return good, found, math.floor((first + span - now) * 1000)
end
local replies = {}
for index, key in ipairs(KEYS) do
    local at = 4 * (index - 1)
    local limit, span, amount = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), ARGV[at + 4]
    local good, used, left = verbs[ARGV[at + 1]](key, limit, span, tonumber(amount) or amount)
    replies[index] = {good and 1 or 0, used, left}
    if not good then
        for _, slot in ipairs(acquired) do redis.call('ZREM', slot[1], slot[2]) end
        break
    end
end
return replies
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
_RENEW = Script(
    f"""{_NOW}
for index = 2, #ARGV do redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[index]) end
redis.call('PEXPIRE', KEYS[1], math.ceil(ARGV[1] * 1000))
return #ARGV - 1
"""
)


class RedisStorage(WindowStorage):
    """Windows, buckets and slots in the Redis at `uri`, under keys that begin with `prefix`. Raises `StoreError`.

    It need not be up: what asks it fails until it is. `timeout` is in seconds.
    """

    STORAGE_SCHEME = ["async+llmgate-redis", "async+llmgate-rediss"]  # noqa: RUF012 - the registry reads it

    def __init__(self, uri: str, *, prefix: str = PREFIX, timeout: float = TIMEOUT_S) -> None:
        super().__init__(uri)
        self.pipe = RedisPipe(uri.removeprefix("async+llmgate-"), timeout=timeout)
        self.slots = RedisSlots(self.pipe, prefix=prefix)
        self._prefix = f"{prefix}:windows:"

    async def count(self, key: str, seconds: float, amount: int = 1) -> Window:
        """See `Windows`."""
        ((_, window),) = await self._ask(
            [self._prefix + key], "count", MAX_COUNT, int(seconds * 1000), amount
        )
        return window

    async def peek(self, key: str) -> Window:
        """See `Windows`."""
        ((_, window),) = await self._ask([self._prefix + key], "peek", MAX_COUNT, 0, 0)
        return window

    async def enter(self, key: str, limit: int, seconds: int, amount: int = 1) -> tuple[bool, Window]:
        """See `Windows`."""
        (answer,) = await self._ask([self._prefix + key], "enter", limit, seconds * 1000, amount)
        return answer

    async def admit(self, steps: Sequence[Step]) -> list[tuple[bool, Window]]:
        """See `WindowsTogether`."""
        keys: list[str] = []
        words: list[Word] = []
        slots: list[tuple[str, str]] = []
        for verb, key, limit, seconds, amount in steps:
            if verb == "acquire":
                slots.append((key, self.slots.new()))
                keys.append(self.slots.prefix + key)
                words += (verb, limit, self.slots.lease_ms, slots[-1][1])
            else:
                keys.append(self._prefix + key)
                words += (verb, limit, seconds * 1000, amount)
        if not slots:
            return await self._ask(keys, *words)
        with self.slots.given_up(slots):
            answers = await self._ask(keys, *words)
        if answers[-1][0]:
            self.slots.hold(slots)
        return answers

    def count_later(self, steps: Sequence[Step], failed: Failed) -> None:
        """See `WindowsTogether`."""
        words: list[Word] = []
        for step in steps:
            words += ("count", MAX_COUNT, step.seconds * 1000, step.amount)
        self.pipe.post_eval(failed, _ADMIT, [self._prefix + step.key for step in steps], *words)

    async def _ask(self, keys: Sequence[str], *words: Word) -> list[tuple[bool, Window]]:
        reply = await self.pipe.eval(_ADMIT, keys, *words)
        answers = cast("list[tuple[int, int, int]]", reply)
        return [(good == 1, Window(used, max(0, left) / 1000)) for good, used, left in answers]

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


class RedisSlots:
    """Slots that every worker counts, each on a lease that its worker renews for as long as it lives."""

    def __init__(self, redis: RedisPipe, *, prefix: str = PREFIX, lease: float = LEASE_S) -> None:
        self.prefix = f"{prefix}:slots:"
        self.lease_ms = int(lease * 1000)
        self._redis = redis
        self._worker, self._number = secrets.token_hex(8), count()
        self._held: defaultdict[str, list[str]] = defaultdict(list)

    def new(self) -> str:
        """What to call a slot that is about to be taken."""
        return f"{self._worker}:{next(self._number)}"

    def hold(self, slots: Iterable[tuple[str, str]]) -> None:
        """These were taken, each under its name: renew them until they are released."""
        for name, slot in slots:
            self._held[name].append(slot)

    async def acquire(self, name: str, amount: int) -> bool:
        """Take one of `amount` slots; False if all are taken. Raises `StoreError`."""
        slots = [(name, self.new())]
        with self.given_up(slots):
            reply = await self._redis.eval(
                _ADMIT, self.prefix + name, "acquire", amount, self.lease_ms, slots[0][1]
            )
        ((good, *_),) = cast("list[tuple[int, int, int]]", reply)
        if good == 1:
            self.hold(slots)
        return good == 1

    @contextmanager
    def given_up(self, slots: Iterable[tuple[str, str]]) -> Iterator[None]:
        """While these are asked for: who leaves meanwhile does not keep them until their leases end."""
        try:
            yield
        except asyncio.CancelledError:
            for name, slot in slots:
                self._free(name, slot)
            raise

    def release(self, name: str) -> None:
        """Give one back. If Redis does not hear of it, the lease ends by itself."""
        slot = self._held[name].pop()
        if not self._held[name]:
            del self._held[name]
        self._free(name, slot)

    def _free(self, name: str, slot: str) -> None:
        self._redis.post(self._not_freed, "ZREM", self.prefix + name, slot)

    def _not_freed(self, error: StoreError) -> None:
        log.warning("a slot stays taken for up to %g s: %s", self.lease_ms / 1000, error)

    async def renew(self) -> None:
        """Extend the leases of all slots that are held here. Raises `StoreError`."""
        for name, slots in list(self._held.items()):
            await self._redis.eval(_RENEW, self.prefix + name, self.lease_ms / 1000, *slots)

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

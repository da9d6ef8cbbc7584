"""Leaky buckets: tokens are poured in by requests and run out at a steady rate; what does not fit has to wait.

A request for more than the whole bucket goes when the bucket is empty, and fills it past its brim: it can be
told when its turn will come, and the rate over time is the leak's all the same.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from limits.aio.strategies import STRATEGIES, RateLimiter
from limits.util import WindowStats

from ..errors import StoreError, Unavailable

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.aio.storage import Storage


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


@runtime_checkable
class BucketStorage(Protocol):
    """A storage that can keep buckets. Raises `StoreError` while it does not answer."""

    async def pour(self, key: str, tokens: int, capacity: int, leak: float) -> Level:
        """Pour `tokens` in if they fit, or nothing; a negative number is taken out."""


class LeakyBucket(RateLimiter):
    """The strategy: `Buckets` in `storage`, and the verbs of the `limits` library.

    An item of that library, such as 10 per minute, is a bucket that holds 10 and loses 10 a minute. With
    `fail_open` everything fits while the storage does not answer.
    """

    def __init__(self, storage: BucketStorage, *, fail_open: bool = False) -> None:
        self.storage = cast("Storage", storage)
        self._storage = storage
        self._fail_open = fail_open

    async def pour(self, name: str, tokens: int, bucket: Bucket) -> Level:
        """See `Buckets`."""
        try:
            return await self._storage.pour(f"bucket/{name}", tokens, bucket.capacity, bucket.leak)
        except StoreError as error:
            if self._fail_open:
                return Level(True, 0.0)
            raise Unavailable("Rate limits cannot be checked at the moment. Try again later.") from error

    async def give_back(self, name: str, tokens: int, bucket: Bucket) -> None:
        """See `Buckets`."""
        await self.pour(name, -tokens, bucket)

    async def hit(self, item: RateLimitItem, *identifiers: str, cost: int = 1) -> bool:
        """See `limits`."""
        return (await self.pour(item.key_for(*identifiers), cost, _bucket(item))).fits

    async def test(self, item: RateLimitItem, *identifiers: str, cost: int = 1) -> bool:
        """See `limits`."""
        level = await self.pour(item.key_for(*identifiers), 0, _bucket(item))
        return level.tokens + cost <= item.amount

    async def get_window_stats(self, item: RateLimitItem, *identifiers: str) -> WindowStats:
        """See `limits`: its bucket is empty at the reset time."""
        bucket = _bucket(item)
        level = await self.pour(item.key_for(*identifiers), 0, bucket)
        return WindowStats(time.time() + level.tokens / bucket.leak, max(0, int(item.amount - level.tokens)))


def _bucket(item: RateLimitItem) -> Bucket:
    return Bucket(item.amount, item.amount / item.get_expiry())


cast("dict[str, Any]", STRATEGIES)["llmgate-leaky-bucket"] = LeakyBucket

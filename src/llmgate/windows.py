"""What rate limits count with, in the memory of one process: windows, and slots for what runs at once."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING, Protocol

from limits.aio.storage import MovingWindowSupport, Storage

if TYPE_CHECKING:
    from collections.abc import Callable

SWEEP_EVERY = 60.0


class LocalWindows(Storage, MovingWindowSupport):
    """A storage of the `limits` library that counts in plain dicts, without a lock, a task or a thread.

    The library's own memory storage starts a task for every count, which looks at every key there is. Here
    the windows that are over are dropped once a minute.
    """

    STORAGE_SCHEME = None

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._clock = clock
        self._counts: dict[str, tuple[int, float]] = {}
        self._entries: dict[str, tuple[list[float], int]] = {}
        self._sweep_at = 0.0

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        """None: memory does not fail."""
        return ()

    async def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count `amount` in the window of `key`; the first one opens it for `expiry` seconds."""
        now = self._clock()
        if now >= self._sweep_at:
            self._sweep(now)
        count, ends = self._counts.get(key, (0, 0.0))
        if now >= ends:
            count, ends = 0, now + expiry
        self._counts[key] = (count + amount, ends)
        return count + amount

    async def get(self, key: str) -> int:
        """What was counted in the window that is open."""
        count, ends = self._counts.get(key, (0, 0.0))
        return count if self._clock() < ends else 0

    async def get_expiry(self, key: str) -> float:
        """When the window ends, in seconds since the epoch; now if none is open."""
        return max(self._clock(), self._counts.get(key, (0, 0.0))[1])

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Note `amount` entries unless more than `limit` would lie within the last `expiry` seconds."""
        now = self._clock()
        if now >= self._sweep_at:
            self._sweep(now)
        entries = self._within(key, now - expiry)
        if len(entries) + amount > limit:
            return False
        entries += [now] * amount
        self._entries[key] = (entries, expiry)
        return True

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """When the oldest entry of the last `expiry` seconds was noted (now, if there is none), and how many."""
        now = self._clock()
        entries = self._within(key, now - expiry)
        return (entries[0] if entries else now), len(entries)

    def _within(self, key: str, since: float) -> list[float]:
        entries, _ = self._entries.get(key, ([], 0))
        del entries[: bisect_left(entries, since)]
        return entries

    def _sweep(self, now: float) -> None:
        self._sweep_at = now + SWEEP_EVERY
        self._counts = {key: window for key, window in self._counts.items() if now < window[1]}
        self._entries = {
            key: kept for key, kept in self._entries.items() if kept[0] and now < kept[0][-1] + kept[1]
        }

    async def check(self) -> bool:
        """Memory is there."""
        return True

    async def reset(self) -> int:
        """Forget everything; returns how many keys there were."""
        known = len(self._counts) + len(self._entries)
        self._counts.clear()
        self._entries.clear()
        return known

    async def clear(self, key: str) -> None:
        """Forget one key."""
        self._counts.pop(key, None)
        self._entries.pop(key, None)


class Slots(Protocol):
    """Counts what runs at once."""

    async def acquire(self, name: str, amount: int) -> bool:
        """Take one of `amount` slots; False if all are taken."""

    async def release(self, name: str) -> None:
        """Give one back."""


class LocalSlots:
    """Slots of one process."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """How many are taken under all names."""
        return self._taken.total()

    async def acquire(self, name: str, amount: int) -> bool:
        """See `Slots`."""
        if self._taken[name] >= amount:
            return False
        self._taken[name] += 1
        return True

    async def release(self, name: str) -> None:
        """See `Slots`."""
        if self._taken[name] > 1:
            self._taken[name] -= 1
        else:
            del self._taken[name]

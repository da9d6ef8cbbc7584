"""What is counted in the memory of one process: windows and buckets as a storage of `limits`, and slots."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from .leaky_bucket import Level
from .strategies import Window, WindowStorage

if TYPE_CHECKING:
    from collections.abc import Callable

    from .strategies import Step

SWEEP_INTERVAL_S = 60.0


class _Count(msgspec.Struct):
    used: int
    ends: float


class MemoryStorage(WindowStorage):
    """Windows and buckets in plain dicts, without a lock, a task or a thread; those that are over go once a minute.

    `timer` is in seconds, of any start, and never goes back: no window lasts longer than its length, whatever
    happens to the clock on the wall.
    """

    STORAGE_SCHEME = ["async+llmgate-memory"]  # noqa: RUF012 - the library's registry reads it as it is

    def __init__(self, uri: str | None = None, *, timer: Callable[[], float] = time.monotonic) -> None:
        super().__init__(uri)
        self._timer = timer
        self._counts: dict[str, _Count] = {}
        self._entries: dict[str, tuple[list[float], float]] = {}
        self._empty_at: dict[str, float] = {}
        self._sweep_at = 0.0

    def __len__(self) -> int:
        """How many windows and buckets are remembered."""
        return len(self._counts) + len(self._entries) + len(self._empty_at)

    async def count(self, key: str, seconds: float, amount: int = 1) -> Window:
        """See `Windows`."""
        return Window(*self._count(key, seconds, amount))

    async def peek(self, key: str) -> Window:
        """See `Windows`."""
        return Window(*self._peek(key))

    async def enter(self, key: str, limit: int, seconds: int, amount: int = 1) -> tuple[bool, Window]:
        """See `Windows`."""
        return self._enter(key, limit, seconds, amount)

    def take(self, step: Step) -> tuple[bool, int, float]:
        """See `WindowsAtHand`."""
        verb, key, limit, seconds, _ = step
        if verb == "count":  # nearly always, and of a window that is open
            now, count = self._now(), self._counts.get(key)
            if count is not None and now < count.ends:
                used = count.used = count.used + 1
                return used <= limit, used, count.ends - now
            used, left = self._count(key, seconds, 1)
            return used <= limit, used, left
        if verb == "peek":
            used, left = self._peek(key)
            return used < limit, used, left
        good, (used, left) = self._enter(key, limit, seconds, 1)
        return good, used, left

    def _count(self, key: str, seconds: float, amount: int) -> tuple[int, float]:
        now = self._now()
        count = self._counts.get(key)
        if count is None or now >= count.ends:
            self._counts[key] = _Count(amount, now + seconds)
            return amount, seconds
        count.used += amount
        return count.used, count.ends - now

    def _peek(self, key: str) -> tuple[int, float]:
        now = self._now()
        count = self._counts.get(key)
        return (0, 0.0) if count is None or now >= count.ends else (count.used, count.ends - now)

    def _enter(self, key: str, limit: int, seconds: float, amount: int) -> tuple[bool, Window]:
        now = self._now()
        entries, _ = self._entries.setdefault(key, ([], seconds))
        del entries[: bisect_left(entries, now - seconds)]
        good = len(entries) + amount <= limit
        if good:
            entries.extend([now] * amount)
        return good, Window(len(entries), (entries[0] if entries else now) + seconds - now)

    async def pour(self, key: str, tokens: int, capacity: int, leak: float) -> Level:
        """See `Buckets`; a negative number of tokens is taken out."""
        now = self._now()
        level = max(0.0, (self._empty_at.get(key, now) - now) * leak)
        over = level + min(tokens, capacity) - capacity
        if tokens > 0 and over > 0:
            return Level(False, level, over / leak)
        level = max(0.0, level + tokens)
        self._empty_at[key] = now + level / leak
        return Level(True, level)

    async def check(self) -> bool:
        """See `limits`."""
        return True

    async def reset(self) -> int:
        """See `limits`."""
        number = len(self)
        for kept in (self._counts, self._entries, self._empty_at):
            kept.clear()
        return number

    async def clear(self, key: str) -> None:
        """See `limits`."""
        for kept in (self._counts, self._entries, self._empty_at):
            kept.pop(key, None)

    async def aclose(self) -> None:
        """Nothing is open."""

    def _now(self) -> float:
        now = self._timer()
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_INTERVAL_S
            self._counts = {key: count for key, count in self._counts.items() if now < count.ends}
            self._entries = {
                key: kept for key, kept in self._entries.items() if kept[0] and now < kept[0][-1] + kept[1]
            }
            self._empty_at = {key: at for key, at in self._empty_at.items() if now < at}
        return now


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

    def release(self, name: str) -> None:
        """See `Slots`."""
        if self._taken[name] > 1:
            self._taken[name] -= 1
        else:
            del self._taken[name]

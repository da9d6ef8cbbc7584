"""What rate limits count with: windows, and slots for what runs at once; here in the memory of one process."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast, runtime_checkable

from ..errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from limits.aio.storage import MovingWindowSupport, Storage

SWEEP_EVERY = 60.0


class Window(NamedTuple):
    """A window: what was counted in it, and when it makes room again, in seconds since the epoch."""

    used: int
    reset: float


@runtime_checkable
class Windows(Protocol):
    """Counts by key; each verb is one look at wherever that is. Raises `StoreError` while it does not answer."""

    async def count(self, key: str, seconds: float, amount: int = 1) -> Window:
        """Count `amount` in the window of `key`; the first count opens it for so many seconds."""

    async def look(self, key: str) -> Window:
        """The window of `key` as it stands; one that is not open is empty and ends now."""

    async def enter(self, key: str, limit: int, seconds: int) -> tuple[bool, Window]:
        """Count one in the last `seconds`, at any moment, unless `limit` were there; whether, and how it stands."""


class LocalWindows:
    """Windows in plain dicts, without a lock, a task or a thread; those that are over go once a minute."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._counts: dict[str, Window] = {}
        self._entries: dict[str, tuple[list[float], int]] = {}
        self._sweep_at = 0.0

    def __len__(self) -> int:
        """How many windows are remembered."""
        return len(self._counts) + len(self._entries)

    async def count(self, key: str, seconds: float, amount: int = 1) -> Window:
        """See `Windows`."""
        now = self._now()
        window = self._counts.get(key)
        if window is None or now >= window.reset:
            window = Window(amount, now + seconds)
        else:
            window = Window(window.used + amount, window.reset)
        self._counts[key] = window
        return window

    async def look(self, key: str) -> Window:
        """See `Windows`."""
        now = self._now()
        window = self._counts.get(key)
        return Window(0, now) if window is None or now >= window.reset else window

    async def enter(self, key: str, limit: int, seconds: int) -> tuple[bool, Window]:
        """See `Windows`."""
        now = self._now()
        entries, _ = self._entries.setdefault(key, ([], seconds))
        del entries[: bisect_left(entries, now - seconds)]
        good = len(entries) < limit
        if good:
            entries.append(now)
        return good, Window(len(entries), (entries[0] if entries else now) + seconds)

    def _now(self) -> float:
        now = self._clock()
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_EVERY
            self._counts = {key: window for key, window in self._counts.items() if now < window.reset}
            self._entries = {
                key: kept for key, kept in self._entries.items() if kept[0] and now < kept[0][-1] + kept[1]
            }
        return now


class LimitsWindows:
    """Windows in an asynchronous storage of the `limits` library, whose errors become `StoreError`."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        kinds = storage.base_exceptions
        self._errors = kinds if isinstance(kinds, tuple) else (kinds,)

    async def count(self, key: str, seconds: float, amount: int = 1) -> Window:
        """See `Windows`."""
        with self._translated():
            used = await self._storage.incr(key, int(seconds), amount=amount)
            return Window(used, await self._storage.get_expiry(key))

    async def look(self, key: str) -> Window:
        """See `Windows`."""
        with self._translated():
            return Window(await self._storage.get(key), await self._storage.get_expiry(key))

    async def enter(self, key: str, limit: int, seconds: int) -> tuple[bool, Window]:
        """See `Windows`."""
        moving = cast("MovingWindowSupport", self._storage)
        with self._translated():
            good = await moving.acquire_entry(key, limit, seconds)
            start, used = await moving.get_moving_window(key, limit, seconds)
            return good, Window(used, start + seconds)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            raise StoreError(f"the storage of rate limits: {error!r}") from error


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

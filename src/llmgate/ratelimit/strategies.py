"""Strategies of the `limits` library that tell with every count how its window stands.

The library's own verbs (`hit`, `test`, `get_window_stats`) are there, too. A storage of ours (`WindowStorage`) answers
in one look; one of the library's is asked by the verbs that it has.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, cast, runtime_checkable

from limits import RateLimitItemPerSecond
from limits.aio.storage import MovingWindowSupport, Storage
from limits.aio.strategies import STRATEGIES, RateLimiter
from limits.util import WindowStats

from ..errors import StoreError
from .availability import Availability

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from limits import RateLimitItem

_MAX_KEY_BYTES = 200
"""Of memcached, which takes 250 and no spaces; the library adds to a key."""


class Window(NamedTuple):
    """A window: what was counted in it, and in how many seconds it makes room again."""

    used: int
    left: float


@runtime_checkable
class Windows(Protocol):
    """Counts by key; each verb is one look at wherever that is. Raises `StoreError` while it does not answer."""

    async def count(self, key: str, seconds: float, amount: int = 1) -> Window:
        """Count `amount` in the window of `key`; the first count opens it for so many seconds."""

    async def peek(self, key: str) -> Window:
        """The window of `key` as it stands; one that is not open is empty and ends now."""

    async def enter(self, key: str, limit: int, seconds: int, amount: int = 1) -> tuple[bool, Window]:
        """Count `amount` in the last `seconds` unless it would be over `limit`; whether, and the window."""


class Step(NamedTuple):
    """One verb of `Windows` for one limit: `count` and `enter` count `amount`, `peek` looks whether any are left.

    `acquire` takes one of `limit` slots of a name, where slots are counted in the same place.
    """

    verb: Literal["count", "peek", "enter", "acquire"]
    key: str
    limit: int
    seconds: int
    amount: int = 1


class Slots(Protocol):
    """Counts what runs at once."""

    async def acquire(self, name: str, amount: int) -> bool:
        """Take one of `amount` slots; False if all are taken. Raises `StoreError`."""

    def release(self, name: str) -> None:
        """Give one back. Nobody waits until others hear of it."""


@runtime_checkable
class WindowsTogether(Protocol):
    """Windows that are asked about several limits in one look, and slots with them."""

    @property
    def slots(self) -> Slots:
        """Those that it takes with them."""

    async def admit(self, steps: Sequence[Step]) -> list[tuple[bool, Window]]:
        """Take `steps` in their order up to the first that a limit refuses: whether it did, and how it stands.

        Slots that were taken before that one are free again.
        """

    def count_later(self, steps: Sequence[Step], failed: Callable[[StoreError], None]) -> None:
        """Count without a limit, together with what is asked next; nobody waits, but `failed` is told an error."""


@runtime_checkable
class WindowsAtHand(Protocol):
    """Windows in this process's own memory: nobody waits for a look at them."""

    def take(self, step: Step) -> tuple[bool, int, float]:
        """Take one step: whether its limit has let it, and the window's `used` and `left`."""


class WindowStorage(Storage, MovingWindowSupport):
    """A storage of the `limits` library that also is `Windows`; its base class's verbs stand on theirs."""

    count: Callable[..., Awaitable[Window]]
    peek: Callable[[str], Awaitable[Window]]
    enter: Callable[..., Awaitable[tuple[bool, Window]]]

    @property
    def base_exceptions(self) -> type[Exception]:
        """What it raises while it does not answer."""
        return StoreError

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """See `limits`."""
        return (await self.count(key, expiry, amount)).used

    async def get(self, key: str) -> int:
        """See `limits`."""
        return (await self.peek(key)).used

    async def get_expiry(self, key: str) -> float:
        """See `limits`: seconds since the epoch."""
        return time.time() + (await self.peek(key)).left

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """See `limits`."""
        good, _ = await self.enter(key, limit, expiry, amount)
        return good

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """See `limits`: when its oldest entry came, in seconds since the epoch, and how many there are."""
        _, window = await self.enter(key, limit, expiry, 0)
        return time.time() + window.left - expiry, window.used


class ForeignWindows:
    """`Windows` in any asynchronous storage of the `limits` library, whose errors become `StoreError`.

    `timeout` bounds a look, in seconds; `prefix` stands before every key.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        prefix: str = "llmgate",
        timeout: float | None = None,
        availability: Availability | None = None,
    ) -> None:
        self._storage = storage
        self._prefix = prefix
        self._timeout = timeout
        self._availability = availability or Availability()
        kinds = storage.base_exceptions
        self._errors: tuple[type[Exception], ...] = (
            *(kinds if isinstance(kinds, tuple) else (kinds,)),
            OSError,
        )

    async def count(self, key: str, seconds: float, amount: int = 1) -> Window:
        """See `Windows`."""
        key = self._key(key)
        async with self._translated():
            used = await self._storage.incr(key, int(seconds), amount=amount)
            return Window(used, min(seconds, await self._left(key)))

    async def peek(self, key: str) -> Window:
        """See `Windows`."""
        key = self._key(key)
        async with self._translated():
            return Window(await self._storage.get(key), await self._left(key))

    async def enter(self, key: str, limit: int, seconds: int, amount: int = 1) -> tuple[bool, Window]:
        """See `Windows`."""
        key = self._key(key)
        moving = cast("MovingWindowSupport", self._storage)
        async with self._translated():
            good = await moving.acquire_entry(key, limit, seconds, amount=amount)
            start, used = await moving.get_moving_window(key, limit, seconds)
            return good, Window(used, min(seconds, max(0.0, start + seconds - time.time())))

    async def _left(self, key: str) -> float:
        return max(0.0, await self._storage.get_expiry(key) - time.time())

    def _key(self, key: str) -> str:
        whole = f"{self._prefix}:{key}"
        if len(whole) <= _MAX_KEY_BYTES and whole.isascii() and whole.isprintable() and " " not in whole:
            return whole
        return f"{self._prefix[:64]}:{blake2b(key.encode(), digest_size=20).hexdigest()}".replace(" ", "_")

    @asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._timeout):
                yield
        except self._errors as error:  # of which TimeoutError is one, as an OSError
            why = f"the storage of rate limits: {error!r}"
            self._availability.failed(why)
            raise StoreError(why) from error
        self._availability.answered()


def windows_of(storage: Storage | Windows) -> Windows:
    """`storage` itself where it answers in one look, else what asks it by the library's verbs."""
    return storage if isinstance(storage, Windows) else ForeignWindows(storage)


class WindowItem(RateLimitItemPerSecond):
    """An item of the `limits` library whose keys begin alike: `amount` in so many `seconds`, for each of `identity`."""

    __slots__ = ("_prefix",)

    def __init__(self, amount: int, seconds: int, *identity: str) -> None:
        super().__init__(amount, seconds, "llmgate")
        self._prefix = "/".join(["llmgate", *identity, str(amount), str(seconds), ""])

    def key_for(self, *identifiers: bytes | str | float) -> str:
        """See `limits`."""
        return self._prefix + "/".join(map(str, identifiers))


class _Windowed(RateLimiter):
    """What both strategies have in common: `storage` may be any asynchronous one, or what windows are in."""

    def __init__(self, storage: Storage | Windows) -> None:
        self.storage = cast("Storage", storage)
        self._windows = windows_of(storage)


class FixedWindow(_Windowed):
    """A window opens with its first count."""

    def count(self, item: RateLimitItem, *identifiers: str | int, cost: int = 1) -> Awaitable[Window]:
        """Count `cost`, whether or not it is over the limit."""
        return self._windows.count(item.key_for(*identifiers), item.get_expiry(), cost)

    def peek(self, item: RateLimitItem, *identifiers: str | int) -> Awaitable[Window]:
        """The window as it stands."""
        return self._windows.peek(item.key_for(*identifiers))

    async def hit(self, item: RateLimitItem, *identifiers: str, cost: int = 1) -> bool:
        """See `limits`."""
        return (await self.count(item, *identifiers, cost=cost)).used <= item.amount

    async def test(self, item: RateLimitItem, *identifiers: str, cost: int = 1) -> bool:
        """See `limits`."""
        return (await self.peek(item, *identifiers)).used + cost <= item.amount

    async def get_window_stats(self, item: RateLimitItem, *identifiers: str) -> WindowStats:
        """See `limits`."""
        return _stats(item, await self.peek(item, *identifiers))


class MovingWindow(_Windowed):
    """The last seconds at any moment, with an entry for each count. Raises `ValueError` where no storage keeps them."""

    def __init__(self, storage: Storage | Windows) -> None:
        super().__init__(storage)
        if not isinstance(storage, Windows | MovingWindowSupport):
            name = type(storage).__name__
            raise ValueError(  # noqa: TRY004 - of a setting
                f"{name} keeps no moving windows: take fixed ones, or another storage"
            )

    def enter(
        self, item: RateLimitItem, *identifiers: str | int, cost: int = 1
    ) -> Awaitable[tuple[bool, Window]]:
        """Count `cost` unless it would be over the limit; whether, and the window as it stands."""
        return self._windows.enter(item.key_for(*identifiers), item.amount, item.get_expiry(), cost)

    async def hit(self, item: RateLimitItem, *identifiers: str, cost: int = 1) -> bool:
        """See `limits`."""
        good, _ = await self.enter(item, *identifiers, cost=cost)
        return good

    async def test(self, item: RateLimitItem, *identifiers: str, cost: int = 1) -> bool:
        """See `limits`."""
        _, window = await self.enter(item, *identifiers, cost=0)
        return window.used + cost <= item.amount

    async def get_window_stats(self, item: RateLimitItem, *identifiers: str) -> WindowStats:
        """See `limits`."""
        _, window = await self.enter(item, *identifiers, cost=0)
        return _stats(item, window)


def _stats(item: RateLimitItem, window: Window) -> WindowStats:
    return WindowStats(time.time() + window.left, max(0, item.amount - window.used))


cast("dict[str, Any]", STRATEGIES).update(
    {"llmgate-fixed-window": FixedWindow, "llmgate-moving-window": MovingWindow}
)

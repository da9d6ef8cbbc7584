"""What was read from the store, until anything in the store has changed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .store import Store

T = TypeVar("T")

RECHECK_S = 60.0
"""Seconds after which it is read again although nobody announced a change."""


class Stamped(Generic[T]):
    """What `read` returns, read by whoever asks first after a change in the store, in this process or another.

    What is written meanwhile is in the next reading: the stamp is taken before. Who asks while it is read waits for it.
    """

    def __init__(self, store: Store, read: Callable[[], Awaitable[T]]) -> None:
        self._store = store
        self._read = read
        self._value: T
        self._stamp: int | None = None
        self._read_again_at = 0.0
        self._reading = asyncio.Lock()

    async def get(self) -> T:
        """The value, as of now. Raises what `read` raises."""
        if self._is_stale():
            async with self._reading:
                if self._is_stale():
                    await self.refresh()
        return self._value

    async def refresh(self) -> T:
        """Read it now, whatever is known."""
        stamp = self._store.changes.current()
        self._value = await self._read()
        self._stamp, self._read_again_at = stamp, self._store.clock() + RECHECK_S
        return self._value

    def _is_stale(self) -> bool:
        changed = self._stamp is None or self._store.changes.current() != self._stamp
        return changed or self._store.clock() >= self._read_again_at

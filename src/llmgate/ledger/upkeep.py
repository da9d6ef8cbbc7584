"""What a worker does beside its requests: heartbeats, answers to the calls of others, recovery of the dead."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self

from ..background import running
from ..errors import StoreError
from .model import Outcome

if TYPE_CHECKING:
    from ..store.change_stamp import ChangeStamp
    from .account_cache import AccountCache
    from .commit import GroupCommit
    from .journal import Abandoned
    from .workers import Workers

log = logging.getLogger("llmgate.ledger")

HEARTBEAT_INTERVAL_S = 2.0
POLL_INTERVAL_S = 0.05
IDLE_POLL_INTERVAL_S = 0.15
"""Where nothing is leased and nothing waits to be written. What is leased meanwhile may be called for at once,
and whoever calls looks for it for 0.2 seconds."""


class Upkeep:
    """The background work of one worker, running while it is entered; it begins with `recover`."""

    def __init__(
        self,
        workers: Workers,
        cache: AccountCache,
        commits: GroupCommit,
        changes: ChangeStamp,
        *,
        sleep: Callable[[float], Awaitable[None]],
        timer: Callable[[], float],
    ) -> None:
        self._workers = workers
        self._cache = cache
        self._commits = commits
        self._changes = changes
        self._sleep = sleep
        self._timer = timer
        self._seen = changes.current()
        self._heartbeat_at = timer()
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self.recover()
        await self._running.enter_async_context(running(self._run(), name="llmgate-ledger-upkeep"))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._running.aclose()

    async def recover(self) -> None:
        """Write what dead workers of this host have left into the ledger, and return what they had leased.

        Raises `StoreError`; what was found is found again then.
        """
        for found in self._workers.abandoned():
            done = False
            try:
                await self._record(found)
                await self._workers.evict([found.worker])
                done = True
            finally:
                found.close(remove=done)
        await self._workers.evict_without_journal()

    async def _record(self, found: Abandoned) -> None:
        entries = list(found.entries())
        if entries:
            ended = sum(entry.record.outcome != Outcome.LOST for entry in entries)
            log.warning(
                "a worker has died: recording its %d unfinished requests, and %d that had ended",
                len(entries) - ended,
                ended,
            )
        written = [self._commits.submit(entry) for entry in entries]
        for error in await asyncio.gather(*written, return_exceptions=True):
            if isinstance(error, BaseException):
                raise error

    async def _run(self) -> None:
        while True:
            await self._sleep(IDLE_POLL_INTERVAL_S if self._idle() else POLL_INTERVAL_S)
            self._commits.expire_waiters()
            try:
                await self._tick()
            except StoreError as error:
                log.warning("the upkeep of the ledger failed: %s", error)

    def _idle(self) -> bool:
        return not self._commits.backlog and next(self._cache.accounts(), None) is None

    async def _tick(self) -> None:
        if self._changes.current() != self._seen:
            self._seen = self._changes.current()
            await self._cache.yield_contended()
        now = self._timer()
        if now - self._heartbeat_at >= HEARTBEAT_INTERVAL_S:
            self._heartbeat_at = now
            await self._cache.heartbeat()
            await self.recover()
            await self._cache.yield_contended()  # the change signal need not reach other hosts
            if self._commits.failing is None:
                await self._cache.close_idle()

"""Group commit: everything that ends while one transaction runs goes into the next one, together.

A transaction begins at once where there was none for a moment, and under load only every so often: most of
what it costs does not depend on how many entries it has.

A caller awaits the future of its entry and knows, when it resolves, that the entry is in the database.
When the database fails, entries wait here and are tried again until they are in; callers wait for at most
`timeout` seconds and then get a `StoreError`, while their entry stays queued. Nothing is written twice:
of each request id a committer writes one entry, so one whose first try may have succeeded unnoticed is
simply tried again.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, Self

import msgspec

from ..errors import StoreError
from .model import Entry

log = logging.getLogger("llmgate.ledger")


class Committer(Protocol):
    """Writes entries into one kind of database."""

    def commit(self, entries: Sequence[Entry]) -> Awaitable[None]:
        """Write all entries in one transaction, leaving out those whose request id is there already.

        Raises `StoreError` where it may work later; anything else is the fault of an entry.
        """

    async def aclose(self) -> None:
        """Let go of the database."""


class _Waiting(msgspec.Struct, frozen=True):
    entry: Entry
    since: float
    done: asyncio.Future[None]
    written: Callable[[], None] | None


class GroupCommit:
    """The queue in front of a `Committer`; an async context manager that drains it when it is left.

    Where all goes well, one group leads to the next by callbacks, which cost less than a task that waits
    for each of them: `submit` -> `_go_on` -> `_begin` -> `_ended` -> `_go_on`. What fails is left to a task.
    """

    def __init__(
        self,
        committer: Committer,
        *,
        timeout: float = 5.0,
        pace: float = 0.0005,
        largest: int = 256,
        retry_every: float = 0.25,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._committer = committer
        self._timeout = timeout
        self._pace = pace
        self._begun = -math.inf
        self._largest = largest
        self._retry_every = retry_every
        self._clock = clock
        self._sleep = sleep
        self._waiting: list[_Waiting] = []
        self._writing: Sequence[_Waiting] = ()
        self._next: asyncio.Handle | None = None
        self._trouble: asyncio.Task[None] | None = None
        self._closing = False
        self._ended_all = asyncio.Event()
        self.failing: StoreError | None = None
        """What the database said last, while it does not take what it is given."""

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        if self._next is not None:
            self._next.cancel()
        if not self._writing:
            self._go_on()
        await self._ended_all.wait()
        if lost := len(self._waiting):
            log.error("%d usage records could not be written before shutdown: %s", lost, self.failing)
        await self._committer.aclose()

    def submit(self, entry: Entry, written: Callable[[], None] | None = None) -> asyncio.Future[None]:
        """Queue `entry`; the future resolves once it is committed, and `written` is called even if that is late."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(_Waiting(entry, self._clock(), done, written))
        if self._next is None and not self._writing:
            self._go_on()
        return done

    def expire_waiters(self) -> None:
        """Tell those who have waited too long that they wait in vain; to be called now and then.

        The database may hang rather than fail, so this does not wait for its answer.
        """
        if self.lag >= self._timeout:
            self._report(self.failing or StoreError(f"the store has taken longer than {self._timeout:g} s"))

    @property
    def backlog(self) -> int:
        """How many entries are not committed yet."""
        return len(self._waiting) + len(self._writing)

    @property
    def lag(self) -> float:
        """For how many seconds the oldest entry has been waiting."""
        oldest = self._writing or self._waiting
        return self._clock() - oldest[0].since if oldest else 0.0

    def _go_on(self) -> None:
        """See to it that what waits is written, as soon as a transaction may begin."""
        self._next = None
        if self._waiting:
            early = 0.0 if self._closing else self._begun + self._pace - self._clock()
            # Not at once: what else this turn of the loop brings goes along.
            self._next = (
                self._loop.call_later(early, self._begin) if early > 0 else self._loop.call_soon(self._begin)
            )
        elif self._closing:
            self._ended_all.set()

    def _begin(self) -> None:
        self._next = None
        self._begun = self._clock()
        self._writing = self._waiting[: self._largest]
        del self._waiting[: self._largest]
        self._commit(self._writing).add_done_callback(self._ended)

    def _ended(self, commit: asyncio.Future[None]) -> None:
        if commit.cancelled():  # the loop is being shut down
            return
        error = commit.exception()
        if error is None:
            self._written(self._writing)
            self._writing = ()
            self._go_on()
        else:
            self._trouble = self._loop.create_task(self._insist(error), name="llmgate-ledger-commit")

    def _commit(self, batch: Sequence[_Waiting]) -> asyncio.Future[None]:
        return asyncio.ensure_future(self._committer.commit([waiting.entry for waiting in batch]))

    async def _insist(self, error: BaseException) -> None:
        """Write the group that has met `error` after all, and go on."""
        given_up = not await self._write(self._writing, error)
        if given_up:
            self._waiting[:0] = self._writing
        self._writing, self._trouble = (), None
        if given_up:
            self._ended_all.set()
        else:
            self._go_on()

    async def _write(self, batch: Sequence[_Waiting], error: BaseException | None = None) -> bool:
        """Write `batch`, for as long as it takes; False if the gate closes while the database fails.

        `error` is how a first try has ended.
        """
        give_up = self._clock() + self._timeout
        while True:
            if error is None:
                (error,) = await asyncio.gather(self._commit(batch), return_exceptions=True)
            if error is None:
                self._written(batch)
                return True
            if isinstance(error, StoreError):
                self._report(error)
                if self._closing and self._clock() >= give_up:
                    return False
                await self._sleep(self._retry_every)
                error = None
            elif len(batch) == 1:
                _reject(batch[0], error)
                return True
            else:
                for waiting in batch:
                    if not await self._write([waiting]):
                        return False
                return True

    def _written(self, batch: Sequence[_Waiting]) -> None:
        if self.failing is not None:
            self.failing = None
            log.warning("the ledger writes again")
        for waiting in batch:
            _resolve(waiting)

    def _report(self, error: StoreError) -> None:
        if self.failing is None:
            log.error("the ledger cannot write, and keeps %d records until it can: %s", self.backlog, error)
        self.failing = error
        expired = self._clock() - self._timeout
        for waiting in (*self._writing, *self._waiting):
            if waiting.since <= expired and not waiting.done.done():
                waiting.done.set_exception(error)


def _resolve(waiting: _Waiting) -> None:
    if waiting.written is not None:
        waiting.written()
    if not waiting.done.done():
        waiting.done.set_result(None)


def _reject(waiting: _Waiting, error: BaseException) -> None:
    log.error("usage record %s cannot be written: %r", waiting.entry.record.request_id, error)
    if waiting.written is not None:
        waiting.written()  # it will not fare better after a crash
    if not waiting.done.done():
        waiting.done.set_exception(StoreError(f"usage record cannot be written: {error!r}"))

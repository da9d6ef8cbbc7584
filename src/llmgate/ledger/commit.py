"""Group commit: records go to the database together, as many as there are, in one transaction.

What is safe in the journal (see `slot`) is added, and nobody waits for it: it is written within `gather` seconds, with
all else that ended meanwhile. What somebody waits for is submitted, and hurries the group that it is in: a transaction
begins at once where there was none for a moment, and under load every `pace` seconds, since most of what one costs
does not depend on how many entries it has. Who wants to read what was added before calls `flush`.

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
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import chain
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
    written: Callable[[], None] | None = None
    done: asyncio.Future[None] | None = None
    """Of whom it is that waits, if anybody does."""


class _Flush(msgspec.Struct, frozen=True):
    """Somebody who waits until so many entries in all are dealt with."""

    entries: int
    since: float
    done: asyncio.Future[None]


class GroupCommit:
    """The queue in front of a `Committer`; an async context manager that drains it when it is left.

    Where all goes well, one group leads to the next by callbacks, which cost less than a task that waits
    for each of them: `add` -> `_go_on` -> `_begin` -> `_ended` -> `_go_on`. What fails is left to a task.
    """

    def __init__(
        self,
        committer: Committer,
        *,
        timeout: float = 5.0,
        pace: float = 0.0005,
        gather: float = 0.03,
        largest: int = 1024,
        retry_every: float = 0.25,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._committer = committer
        self._timeout = timeout
        self._pace = pace
        self._gather = gather
        self._begun = -math.inf
        self._largest = largest
        self._retry_every = retry_every
        self._clock = clock
        self._sleep = sleep
        self._waiting: list[_Waiting] = []
        self._writing: Sequence[_Waiting] = ()
        self._hurries = False
        self._dealt_with = 0
        self._flushes: deque[_Flush] = deque()
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
        for flush in self._flushes:
            _fail(flush.done, self.failing or StoreError("the ledger was closed"))
        await self._committer.aclose()

    def add(self, entry: Entry, written: Callable[[], None]) -> None:
        """Queue `entry`, which is in the journal; `written` is called once it is in the database, too."""
        self._waiting.append(_Waiting(entry, self._clock(), written))
        if self._next is None and not self._writing:
            self._go_on()

    def submit(self, entry: Entry, written: Callable[[], None] | None = None) -> asyncio.Future[None]:
        """Queue `entry`; the future resolves once it is committed, and `written` is called even if that is late."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(_Waiting(entry, self._clock(), written, done))
        self._hurry()
        return done

    async def flush(self) -> None:
        """Wait until all that was queued before is in the database. Raises `StoreError` if it takes too long."""
        if self.backlog:
            done: asyncio.Future[None] = self._loop.create_future()
            self._flushes.append(_Flush(self._dealt_with + self.backlog, self._clock(), done))
            self._hurry()
            expiry = self._loop.call_later(self._timeout + self._retry_every, self.expire_waiters)
            try:
                await done
            finally:
                expiry.cancel()

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

    def _hurry(self) -> None:
        """Somebody waits: what is queued does not gather for longer."""
        if not self._hurries:
            self._hurries = True
            if self._next is not None:
                self._next.cancel()
                self._next = None
        if self._next is None and not self._writing:
            self._go_on()

    def _go_on(self) -> None:
        """See to it that what waits is written, as soon as a transaction is to begin."""
        self._next = None
        if self._waiting:
            early = self._begins_at() - self._clock()
            # Not at once: what else this turn of the loop brings goes along.
            self._next = (
                self._loop.call_later(early, self._begin) if early > 0 else self._loop.call_soon(self._begin)
            )
        elif self._closing:
            self._ended_all.set()

    def _begins_at(self) -> float:
        if self._closing:
            return -math.inf
        if self._hurries or len(self._waiting) >= self._largest:
            return self._begun + self._pace
        return self._waiting[0].since + self._gather

    def _begin(self) -> None:
        self._next = None
        self._begun = self._clock()
        if len(self._waiting) <= self._largest:
            self._writing, self._waiting = self._waiting, []
        else:
            self._writing = self._waiting[: self._largest]
            del self._waiting[: self._largest]
        self._hurries = self._hurries and bool(self._waiting)
        self._commit(self._writing).add_done_callback(self._ended)

    def _ended(self, commit: asyncio.Future[None]) -> None:
        if commit.cancelled():  # the loop is being shut down
            return
        error = commit.exception()
        if error is None:
            self._written(self._writing)
            self._dealt_with_group()
        else:
            self._trouble = self._loop.create_task(self._insist(error), name="llmgate-ledger-commit")

    def _commit(self, batch: Sequence[_Waiting]) -> asyncio.Future[None]:
        return asyncio.ensure_future(self._committer.commit([waiting.entry for waiting in batch]))

    async def _insist(self, error: BaseException) -> None:
        """Write the group that has met `error` after all, and go on."""
        given_up = not await self._write(self._writing, error)
        self._trouble = None
        if given_up:
            self._waiting[:0] = self._writing
            self._writing = ()
            self._ended_all.set()
        else:
            self._dealt_with_group()

    def _dealt_with_group(self) -> None:
        self._dealt_with += len(self._writing)
        self._writing = ()
        while self._flushes and self._flushes[0].entries <= self._dealt_with:
            _resolve(self._flushes.popleft().done)
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
            if waiting.written is not None:
                waiting.written()
            if waiting.done is not None:
                _resolve(waiting.done)

    def _report(self, error: StoreError) -> None:
        if self.failing is None:
            log.error("the ledger cannot write, and keeps %d records until it can: %s", self.backlog, error)
        self.failing = error
        expired = self._clock() - self._timeout
        waiting: Iterable[_Waiting | _Flush] = chain(self._writing, self._waiting, self._flushes)
        for one in waiting:
            if one.since <= expired:
                _fail(one.done, error)


def _resolve(done: asyncio.Future[None] | None) -> None:
    if done is not None and not done.done():
        done.set_result(None)


def _fail(done: asyncio.Future[None] | None, error: StoreError) -> None:
    if done is not None and not done.done():
        done.set_exception(error)


def _reject(waiting: _Waiting, error: BaseException) -> None:
    log.error("usage record %s cannot be written: %r", waiting.entry.record.request_id, error)
    if waiting.written is not None:
        waiting.written()  # it will not fare better after a crash
    _fail(waiting.done, StoreError(f"usage record cannot be written: {error!r}"))

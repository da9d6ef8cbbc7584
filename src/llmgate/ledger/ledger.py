"""The ledger: hold before a request, settle after it, exactly once, durably.

    async with Ledger.open(store, committer, defaults=...) as ledger:
        hold = await ledger.reserve(subjects, demand, upstream="vllm", model="llama")
        ...
        await ledger.settle(record, hold)     # in the database when this returns

Decisions are made in memory on what this process has leased; the store is asked only when an account is
first seen, when its window turns, when something was changed by others, or when it falls short.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..errors import QuotaExhausted, StoreError, Unavailable
from .accounts import Account, Demand, Hold, place_hold
from .commit import Committer, GroupCommit
from .leases import GivenBack, Grant, Leases
from .model import Default, Entry, Subject, Unit, UsageRecord

if TYPE_CHECKING:
    from ..store import Store

log = logging.getLogger("llmgate.ledger")

BEAT_EVERY = 2.0
LOOK_EVERY = 0.05
IDLE_FOR = 300.0
SHORT_TRIES = 5

CountTokens = Callable[[], Awaitable[int | None]]
"""Asks the backend how long a prompt really is; None where it cannot say."""


@dataclass(slots=True)
class _Book:
    """All accounts of one subject, and until when they may be used without asking the store."""

    subject: Subject
    accounts: dict[int, Account] = field(default_factory=dict)
    seen_change: int = -1
    valid_until: float = 0.0
    used_at: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def give_back(self) -> list[GivenBack]:
        """Everything that no request holds, taken out of the accounts."""
        parts = []
        for account in self.accounts.values():
            room = account.room
            if room > 0:
                account.allowance -= room
                parts.append(GivenBack(account.quota_id, account.window_start, room))
        return parts

    def take(self, parts: Iterable[GivenBack]) -> None:
        """Undo `give_back`: the store did not hear of it."""
        for part in parts:
            account = self.accounts.get(part.quota_id)
            if account is not None and account.window_start == part.window_start:
                account.allowance += part.amount

    def update(self, grants: Iterable[Grant]) -> None:
        """Take over what the store granted."""
        accounts = {}
        for grant in grants:
            account = self.accounts.get(grant.quota_id)
            if account is None:
                account = Account(grant.quota_id, self.subject, grant.allotment, -1.0, 0.0)
            if account.window_start != grant.window_start:
                account.window_start, account.window_end = grant.window_start, grant.window_end
                account.allowance = account.held = 0
            account.allotment = grant.allotment
            account.allowance += grant.granted
            account.used = grant.used
            account.whole = grant.whole
            accounts[grant.quota_id] = account
        self.accounts = accounts
        self.valid_until = min((account.window_end for account in accounts.values()), default=float("inf"))


@dataclass(frozen=True, slots=True)
class LedgerState:
    """A look at the ledger: quotas by whether any of them is left, and amounts held by unit."""

    accounts: Mapping[str, int]
    held: Mapping[str, int]


class Ledger:
    """See the module's text. Made by `open`."""

    def __init__(
        self,
        store: Store,
        leases: Leases,
        commits: GroupCommit,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        fail_open: bool,
    ) -> None:
        self._changes = store.changes
        self._leases = leases
        self._commits = commits
        self._clock = clock
        self._sleep = sleep
        self._fail_open = fail_open
        self._books: dict[Subject, _Book] = {}
        self._seen = self._changes.current()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        store: Store,
        committer: Callable[[str], Committer],
        *,
        defaults: Sequence[Default] = (),
        sole: bool = True,
        fail_open: bool = False,
        patience: float = 5.0,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        worker_id: str | None = None,
    ) -> AsyncIterator[Ledger]:
        """A ledger over `store`, with the hot write path that `committer` makes for this worker's id.

        `sole` says that no other process can be using the store: leases that are still there belong to
        processes that died. `patience` bounds how many seconds a finished request waits for its commit.
        """
        worker_id = worker_id or uuid.uuid4().hex
        leases = Leases(store, worker_id, defaults, clock=clock)
        await leases.register()
        if sole:
            await leases.clear_dead()
        async with GroupCommit(committer(worker_id), patience=patience) as commits:
            ledger = cls(store, leases, commits, clock=clock, sleep=sleep, fail_open=fail_open)
            beating = asyncio.create_task(ledger._beat(), name="llmgate-ledger-beat")
            try:
                yield ledger
            finally:
                beating.cancel()
                await asyncio.gather(beating, return_exceptions=True)
        try:
            await leases.leave()
        except StoreError as error:
            log.warning("leases stay out until they expire: %s", error)

    async def reserve(
        self,
        subjects: Iterable[Subject],
        demand: Demand,
        *,
        upstream: str = "",
        model: str = "",
        count: CountTokens | None = None,
    ) -> Hold:
        """Hold what a request may use on every quota of `subjects` that covers it, all or none.

        The hold's `max_output` says to what each choice must be limited, where less than the demand is
        left. Where the byte bound of the prompt does not fit, `count` may tell its true length. Raises
        `QuotaExhausted`, or `Unavailable` while the store does not answer (unless the ledger fails open).
        """
        if self._commits.failing is not None and not self._fail_open:
            raise Unavailable("The ledger cannot be written at the moment. Try again later.")
        try:
            return await self._reserve(tuple(subjects), demand, upstream, model, count)
        except StoreError as error:
            if self._fail_open:
                log.warning("a request goes through without a hold: %s", error)
                return Hold()
            raise Unavailable("The ledger cannot be read at the moment. Try again later.") from error

    async def _reserve(
        self,
        subjects: tuple[Subject, ...],
        demand: Demand,
        upstream: str,
        model: str,
        count: CountTokens | None,
    ) -> Hold:
        hold = await self._place(subjects, demand, upstream, model)
        if isinstance(hold, Account) and count is not None:
            counted = await count()
            if counted is not None and counted < demand.input:
                hold = await self._place(subjects, replace(demand, input=counted), upstream, model)
        if isinstance(hold, Account):
            raise QuotaExhausted(_exhausted(hold))
        return hold

    async def _place(
        self, subjects: tuple[Subject, ...], demand: Demand, upstream: str, model: str
    ) -> Hold | Account:
        hold = place_hold(await self._accounts(subjects, upstream, model), demand)
        if isinstance(hold, Account):
            hold = await self._extend(hold, subjects, demand, upstream, model)
        return hold

    async def _accounts(self, subjects: tuple[Subject, ...], upstream: str, model: str) -> list[Account]:
        if not self._leases.fresh and not await self._leases.beat():
            self._forget_everything()
        now, change = self._clock(), self._changes.current()
        found = []
        for subject in subjects:
            book = self._books.get(subject)
            if book is None or book.seen_change != change or now >= book.valid_until:
                book = await self._refresh(subject, {})
            book.used_at = now
            found += [account for account in book.accounts.values() if account.covers(upstream, model)]
        return found

    async def _refresh(self, subject: Subject, want: dict[int, int]) -> _Book:
        book = self._books.setdefault(subject, _Book(subject))
        async with book.lock:
            change = self._changes.current()
            if not want and book.seen_change == change and self._clock() < book.valid_until:
                return book  # somebody else has just done it
            parts = book.give_back()
            try:
                grants = await self._leases.lease(subject, want=want, give_back=parts)
            except BaseException:
                book.take(parts)
                raise
            book.update(grants)
            book.seen_change = change
        return book

    async def _extend(
        self, short: Account, subjects: tuple[Subject, ...], demand: Demand, upstream: str, model: str
    ) -> Hold | Account:
        """Lease more where an account falls short, and wait a moment for what other workers give back."""
        for attempt in range(SHORT_TRIES):
            if short.whole:
                return short
            output = (demand.output or 1) * demand.choices
            book = await self._refresh(
                short.subject, {short.quota_id: demand.amount(short.allotment.unit, output)}
            )
            result = place_hold(await self._accounts(subjects, upstream, model), demand)
            if isinstance(result, Hold):
                return result
            short = result
            if attempt == 0 and not short.whole:
                await self._leases.contend([short.quota_id])
                book.seen_change = self._changes.current()
            await self._sleep(LOOK_EVERY)
        return short

    async def settle(self, record: UsageRecord, hold: Hold | None = None) -> None:
        """Write `record` and charge it to what `hold` holds; it is in the database when this returns.

        Raises `StoreError` if it could not be written in time; it is then kept and written later, unless
        the process dies before the store comes back.
        """
        charges = hold.settle(record) if hold is not None else ()
        try:
            await asyncio.shield(self._commits.submit(Entry(record, charges)))
        except StoreError:
            if not self._fail_open:
                raise
            log.warning("usage record %s is not written yet", record.request_id)

    @property
    def commits(self) -> GroupCommit:
        """The queue of records on their way to the store, for health and metrics."""
        return self._commits

    def state(self) -> LedgerState:
        """How many quotas are in use here, and what running requests hold, for the metrics."""
        accounts, held = Counter({"open": 0, "exhausted": 0}), Counter[str]()
        for book in self._books.values():
            for account in book.accounts.values():
                accounts["open" if account.room > 0 else "exhausted"] += 1
                held[str(account.allotment.unit)] += account.held
        return LedgerState(accounts, held)

    def set_defaults(self, defaults: Sequence[Default]) -> None:
        """Take over the default allotments of a reloaded gate.toml."""
        self._leases.set_defaults(defaults)
        for book in self._books.values():
            book.seen_change = -1

    async def _beat(self) -> None:
        """Stay alive in the eyes of other workers, and answer their calls for what is not needed here."""
        last_beat = self._clock()
        while True:
            await self._sleep(LOOK_EVERY)
            try:
                if self._changes.current() != self._seen:
                    self._seen = self._changes.current()
                    await self._yield_contended()
                now = self._clock()
                if now - last_beat >= BEAT_EVERY or now < last_beat:
                    last_beat = now
                    if not await self._leases.beat():
                        self._forget_everything()
                    await self._close_idle(now)
            except StoreError as error:
                log.warning("the ledger's heartbeat failed: %s", error)

    async def _yield_contended(self) -> None:
        contended = await self._leases.contended()
        for book in list(self._books.values()):
            if contended.intersection(book.accounts):
                await self._give_back(book)

    async def _close_idle(self, now: float) -> None:
        for subject, book in list(self._books.items()):
            idle = now - book.used_at > IDLE_FOR
            if idle and not any(account.held for account in book.accounts.values()):
                del self._books[subject]
                await self._give_back(book)

    async def _give_back(self, book: _Book) -> None:
        async with book.lock:
            parts = book.give_back()
            if parts:
                try:
                    await self._leases.give_back(parts)
                except StoreError:
                    book.take(parts)
                    raise

    def _forget_everything(self) -> None:
        """This worker was thought dead and its leases are gone: lease anew before anything else."""
        log.warning("this worker's leases expired while the store was out of reach")
        for book in self._books.values():
            book.seen_change = -1
            for account in book.accounts.values():
                account.allowance = account.held


def _exhausted(short: Account) -> str:
    allotment = short.allotment
    what = {Unit.TOKENS: "tokens", Unit.REQUESTS: "requests", Unit.MONEY: "millionths of the budget"}[
        allotment.unit
    ]
    window = "" if allotment.window == "none" else f" per {allotment.window}"
    left = max(0, short.room)
    return (
        f"The quota of this {short.subject.kind} is used up: {allotment.limit} {what}{window}, "
        f"{left} left, which is not enough for this request."
    )

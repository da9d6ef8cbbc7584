"""The accounts that this process keeps, subject by subject, and when it must ask the store about them.

The store is asked when a subject is first seen, when a window turns, when an operator has changed the
subject's quotas, and when an account falls short. While it is asked, what no request holds is on offer to
the other workers, so whoever needs the subject meanwhile waits for its lock.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .accounts import Account
from .leases import Grant, Keep, Leases
from .model import Subject
from .workers import WorkerExpired, Workers

if TYPE_CHECKING:
    from ..store.change_stamp import ChangeStamp

log = logging.getLogger("llmgate.ledger")

IDLE_FOR = 300.0
"""Seconds after which an account that nobody uses is given back and forgotten."""


@dataclass(slots=True, eq=False)
class CachedAccount:
    """All accounts of one subject. `stale`: the store must be asked before anything is decided by them."""

    subject: Subject
    accounts: dict[int, Account] = field(default_factory=dict)
    stale: bool = True
    valid_until: float = 0.0
    used_at: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def good_at(self, now: float) -> bool:
        """Whether decisions may be made by it."""
        return not self.stale and now < self.valid_until and not self.lock.locked()

    def keeps(self, account: Account | None = None, want: int = 0) -> list[Keep]:
        """What must stay leased, and of `account` how much more is wanted."""
        return [
            Keep(one.quota_id, one.window_start, one.spent + one.held, want if one is account else 0)
            for one in self.accounts.values()
        ]

    def update(self, grants: Iterable[Grant], holder: str) -> None:
        """Take over what the store has given to `holder`."""
        self.valid_until = float("inf")
        for known in self.accounts.values():
            known.in_force = False
        for quota_id, allotment, start, end, given, whole, others in grants:
            account: Account | None = self.accounts.get(quota_id)
            if account is None or account.window_start != start:
                account = Account(quota_id, self.subject, allotment, holder, start, end)
                self.accounts[quota_id] = account
            account.allotment, account.given, account.whole = allotment, given, whole
            account.dry_until, account.in_force, account.others = 0.0, True, others
            self.valid_until = min(self.valid_until, end)

    def rename(self, holder: str) -> None:
        """Start over as `holder`, to whom nothing was given yet; running requests stay, uncovered so far."""
        for account in self.accounts.values():
            account.holder, account.given, account.spent, account.whole = holder, 0, 0, False


class AccountCache:
    """The books of all subjects that were seen lately."""

    def __init__(
        self, leases: Leases, workers: Workers, changes: ChangeStamp, *, clock: Callable[[], float]
    ) -> None:
        self._leases = leases
        self._workers = workers
        self._changes = changes
        self._clock = clock
        self._books: dict[Subject, CachedAccount] = {}
        self._stamp: int | None = None
        self._looking = asyncio.Lock()
        self._beating = asyncio.Lock()

    def accounts(self) -> Iterator[Account]:
        """Every account."""
        return (account for book in self._books.values() for account in book.accounts.values())

    def outdate(self, subjects: Iterable[Subject] | None = None) -> None:
        """Have the store asked about these subjects (all, without any) before the next decision."""
        for subject in self._books if subjects is None else subjects:
            if (book := self._books.get(subject)) is not None:
                book.stale = True

    async def covering(self, subjects: Iterable[Subject], upstream: str, model: str) -> list[Account]:
        """The accounts that a request draws on, as they are now: good until the caller awaits anything.

        Raises `StoreError` if the store has to be asked and does not answer.
        """
        while (found := self.known(subjects, upstream, model)) is None:
            if not self._workers.fresh:
                await self.beat()
            if self._changes.current() != self._stamp:
                await self._look()
            now = self._clock()
            for subject in subjects:
                book = self._books.get(subject) or self._open(subject)
                if not book.good_at(now):
                    await self._refresh(book)
        return found

    def known(self, subjects: Iterable[Subject], upstream: str, model: str) -> list[Account] | None:
        """The same, without asking anybody; None where the store has to be asked."""
        if not self._workers.fresh or self._changes.current() != self._stamp:
            return None
        now = self._clock()
        found = []
        for subject in subjects:
            book = self._books.get(subject)
            if book is None or not book.good_at(now):
                return None
            book.used_at = now
            found += [account for account in book.accounts.values() if account.covers(upstream, model)]
        return found

    async def extend(self, account: Account, amount: int, *, from_others: bool) -> None:
        """Lease so much more of `account` that `amount` of it is room, where that is to be had.

        With `from_others`, other workers are asked for theirs where it is not.
        """
        book = self._books.get(account.subject) or self._open(account.subject)
        async with book.lock:
            if account.room < amount:
                await self._lease(book, book.keeps(account, amount))
        if from_others and account.room < amount and not account.whole:
            await self._leases.contend(account.quota_id)

    async def beat(self) -> None:
        """Prove that this worker lives; if it was thought dead, start over with nothing leased."""
        if not self._workers.beats:
            return
        async with self._beating:
            try:
                await self._workers.beat()
            except WorkerExpired as error:
                log.warning("%s: its leases are gone", error)
                self.outdate()
                await self._workers.rejoin()
                for book in self._books.values():
                    book.rename(self._workers.me)

    async def yield_contended(self) -> None:
        """Give back what is not held of quotas that other workers are short of."""
        contended = await self._leases.contended()
        for book in list(self._books.values()):
            if any(book.accounts[quota_id].room > 0 for quota_id in contended.intersection(book.accounts)):
                async with book.lock:
                    book.stale = True  # whether or not the store hears of it
                    await self._leases.give_back(book.keeps())

    async def close_idle(self) -> None:
        """Give back and forget the books that nobody has used for a while; only while no charge is under way."""
        idle_since = self._clock() - IDLE_FOR
        for subject, book in list(self._books.items()):
            if book.used_at > idle_since or any(account.held for account in book.accounts.values()):
                continue
            async with book.lock:
                book.stale = True
                await self._leases.close(book.accounts)
                del self._books[subject]

    def _open(self, subject: Subject) -> CachedAccount:
        book = self._books[subject] = CachedAccount(subject, used_at=self._clock())
        return book

    async def _look(self) -> None:
        """Find out whose quotas were changed."""
        async with self._looking:
            stamp = self._changes.current()
            if stamp != self._stamp:
                self.outdate(await self._leases.changed())
                self._stamp = stamp

    async def _refresh(self, book: CachedAccount) -> None:
        async with book.lock:
            if book.stale or self._clock() >= book.valid_until:
                await self._lease(book, book.keeps())

    async def _lease(self, book: CachedAccount, keeps: list[Keep]) -> None:
        book.stale = False  # what makes it stale from here on may not be in what the store answers
        try:
            holder = self._workers.me
            book.update(await self._leases.lease(book.subject, keeps), holder)
        except BaseException:
            book.stale = True  # what the store made of it is seen the next time
            raise

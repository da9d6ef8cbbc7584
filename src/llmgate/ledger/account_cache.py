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
from .leases import Lease, Leases
from .model import Subject
from .workers import WorkerExpired, Workers

if TYPE_CHECKING:
    from ..store.change_stamp import ChangeStamp

log = logging.getLogger("llmgate.ledger")

MODELS_REMEMBERED = 64
"""For so many models it is remembered which accounts of a subject their requests draw on."""
IDLE_FOR_S = 300.0
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
    _covering: dict[tuple[str, str], tuple[Account, ...]] = field(default_factory=dict, repr=False)

    def covering(self, upstream: str, model: str) -> tuple[Account, ...]:
        """The accounts that a request for `model` on `upstream` draws on."""
        found = self._covering.get((upstream, model))
        if found is None:
            if len(self._covering) == MODELS_REMEMBERED:
                self._covering.clear()
            found = tuple(account for account in self.accounts.values() if account.covers(upstream, model))
            self._covering[upstream, model] = found
        return found

    def is_valid_at(self, now: float) -> bool:
        """Whether decisions may be made by it at `now`, seconds since the epoch."""
        return not self.stale and now < self.valid_until and not self.lock.locked()

    def leases(self, account: Account | None = None, wanted: int = 0) -> list[Lease]:
        """What is retained of each lease, and of `account` how much more is wanted."""
        return [
            Lease(one.quota_id, one.window_start, one.spent + one.held, wanted if one is account else 0)
            for one in self.accounts.values()
        ]

    def update(self, leases: Iterable[Lease], holder: str) -> None:
        """Take over what the store has granted to `holder`."""
        self.valid_until = float("inf")
        self._covering.clear()
        for known in self.accounts.values():
            known.in_force = False
        for lease in leases:
            account: Account | None = self.accounts.get(lease.quota_id)
            if account is None or account.window_start != lease.window_start:
                account = Account(lease.quota_id, self.subject, lease.allotment, holder, lease.window_start)
                self.accounts[lease.quota_id] = account
            account.allotment, account.granted, account.retained = (
                lease.allotment,
                lease.granted,
                lease.retained,
            )
            account.others, account.unleased = lease.others, lease.unleased
            account.fully_leased, account.valid_until = lease.fully_leased, lease.valid_until
            account.retry_lease_at, account.in_force = 0.0, True
            self.valid_until = min(self.valid_until, lease.valid_until)

    def rename(self, holder: str) -> None:
        """Start over as `holder`, to whom nothing was given yet; running requests stay, uncovered so far."""
        for account in self.accounts.values():
            account.holder, account.granted, account.retained, account.spent = holder, 0, 0, 0
            account.fully_leased = False


class AccountCache:
    """The accounts of all subjects that were seen lately."""

    def __init__(
        self, leases: Leases, workers: Workers, changes: ChangeStamp, *, clock: Callable[[], float]
    ) -> None:
        self._leases = leases
        self._workers = workers
        self._changes = changes
        self._clock = clock
        self._subjects: dict[Subject, CachedAccount] = {}
        self._stamp: int | None = None
        self._asking = asyncio.Lock()
        self._proving = asyncio.Lock()

    def accounts(self) -> Iterator[Account]:
        """Every account."""
        return (account for known in self._subjects.values() for account in known.accounts.values())

    def outdate(self, subjects: Iterable[Subject] | None = None) -> None:
        """Have the store asked about these subjects (all, without any) before the next decision."""
        for subject in self._subjects if subjects is None else subjects:
            if (known := self._subjects.get(subject)) is not None:
                known.stale = True

    async def get(self, subjects: Iterable[Subject], upstream: str, model: str) -> list[Account]:
        """The accounts that a request draws on, as they are now: good until the caller awaits anything.

        Raises `StoreError` if the store has to be asked and does not answer.
        """
        while (found := self.get_cached(subjects, upstream, model)) is None:
            if not self._workers.lease_valid:
                await self.heartbeat()
            if self._changes.current() != self._stamp:
                await self._read_changes()
            now = self._clock()
            for subject in subjects:
                known = self._subjects.get(subject) or self._open(subject)
                if not known.is_valid_at(now):
                    await self._refresh(known)
        return found

    def get_cached(self, subjects: Iterable[Subject], upstream: str, model: str) -> list[Account] | None:
        """The same, without asking anybody; None where the store has to be asked."""
        if not self._workers.lease_valid or self._changes.current() != self._stamp:
            return None
        now = self._clock()
        found: list[Account] = []
        for subject in subjects:
            known = self._subjects.get(subject)
            if known is None or not known.is_valid_at(now):
                return None
            known.used_at = now
            found += known.covering(upstream, model)
        return found

    async def extend(self, account: Account, amount: int, *, from_others: bool) -> None:
        """Lease so much more of `account` that `amount` of it is room, where that is to be had.

        With `from_others`, other workers are asked for theirs where it is not.
        """
        known = self._subjects.get(account.subject) or self._open(account.subject)
        async with known.lock:
            if account.room < amount:
                await self._lease(known, known.leases(account, amount))
        if from_others and account.room < amount and not account.fully_leased:
            await self._leases.contend(account.quota_id)

    async def heartbeat(self) -> None:
        """Prove that this worker lives; if it was thought dead, start over with nothing leased."""
        if not self._workers.uses_heartbeat:
            return
        async with self._proving:
            try:
                await self._workers.heartbeat()
            except WorkerExpired as error:
                log.warning("%s: its leases are gone", error)
                self.outdate()
                await self._workers.rejoin()
                for known in self._subjects.values():
                    known.rename(self._workers.worker_id)

    async def yield_contended(self) -> None:
        """Give back what is not held of quotas that other workers are short of."""
        contended = await self._leases.contended()
        for known in list(self._subjects.values()):
            if any(
                known.accounts[quota_id].excess > 0 for quota_id in contended.intersection(known.accounts)
            ):
                async with known.lock:
                    known.stale = True  # whether or not the store hears of it
                    await self._leases.give_back(known.leases())

    async def close_idle(self) -> None:
        """Give back and forget the accounts that nobody has used for a while."""
        idle_since = self._clock() - IDLE_FOR_S
        for subject, known in list(self._subjects.items()):
            if known.used_at > idle_since or known.lock.locked():
                continue
            async with known.lock:
                if not any(account.held for account in known.accounts.values()):
                    known.stale = True  # nobody holds anything of it from here on
                    await self._leases.close(known.accounts)
                    del self._subjects[subject]

    def _open(self, subject: Subject) -> CachedAccount:
        known = self._subjects[subject] = CachedAccount(subject, used_at=self._clock())
        return known

    async def _read_changes(self) -> None:
        """Find out whose quotas were changed."""
        async with self._asking:
            stamp = self._changes.current()
            if stamp != self._stamp:
                self.outdate(await self._leases.changed())
                self._stamp = stamp

    async def _refresh(self, known: CachedAccount) -> None:
        async with known.lock:
            if known.stale or self._clock() >= known.valid_until:
                await self._lease(known, known.leases())

    async def _lease(self, known: CachedAccount, wanted: list[Lease]) -> None:
        known.stale = False  # what makes it stale from here on may not be in what the store answers
        try:
            holder = self._workers.worker_id
            known.update(await self._leases.lease(known.subject, wanted), holder)
        except BaseException:
            known.stale = True  # what the store made of it is seen the next time
            raise

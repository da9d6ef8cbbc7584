"""The accounts that this process keeps, subject by subject, and when it must ask the store about them.

The store is asked when a subject is first seen, when a window turns, when an operator has changed the
subject's quotas, and when an account falls short. While it is asked, what no request holds is on offer to
the other workers, so whoever needs the subject meanwhile waits for its lock.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .accounts import Account
from .leases import Lease, Leases
from .model import Subject
from .workers import WorkerExpired, Workers

if TYPE_CHECKING:
    from ..store.change_stamp import ChangeStamp

log = logging.getLogger("llmgate.ledger")

LOOKS_REMEMBERED = 64
"""So many answers of what requests draw on are remembered for each subject: one for each model, say."""
IDLE_FOR_S = 300.0
"""Seconds after which an account that nobody uses is given back and forgotten."""


Draws = tuple[tuple[Subject, ...], str, str]
"""Whose accounts requests draw on, on which upstream, for which model."""


@dataclass(slots=True, eq=False)
class CachedAccount:
    """All accounts of one subject. `stale`: the store must be asked before anything is decided by them."""

    subject: Subject
    accounts: dict[int, Account] = field(default_factory=dict)
    stale: bool = True
    valid_until: float = 0.0
    used_at: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    looks: set[Draws] = field(default_factory=set, repr=False)
    """What is remembered that stands on it."""

    def covering(self, upstream: str, model: str) -> Iterator[Account]:
        """The accounts that a request for `model` on `upstream` draws on."""
        return (account for account in self.accounts.values() if account.covers(upstream, model))

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


class _Look:
    """What requests of one kind draw on, until when that holds, and whose it is."""

    __slots__ = ("accounts", "known", "valid_until")

    def __init__(self, known: list[CachedAccount], upstream: str, model: str) -> None:
        self.known = known
        self.accounts = tuple(account for one in known for account in one.covering(upstream, model))
        self.valid_until = min((one.valid_until for one in known), default=float("inf"))


class AccountCache:
    """The accounts of all subjects that were seen lately.

    What a request draws on is looked up once for all like it: a look is remembered while all that it stands on is
    valid, and forgotten before anything of that may change (`_asking_about`, `outdate`).
    """

    def __init__(
        self, leases: Leases, workers: Workers, changes: ChangeStamp, *, clock: Callable[[], float]
    ) -> None:
        self._leases = leases
        self._workers = workers
        self._expires = workers.uses_heartbeat
        self._changes = changes
        self._clock = clock
        self._subjects: dict[Subject, CachedAccount] = {}
        self._looks: dict[Draws, _Look] = {}
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
                self._outdate(known)

    async def get(self, subjects: tuple[Subject, ...], upstream: str, model: str) -> tuple[Account, ...]:
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

    def get_cached(
        self, subjects: tuple[Subject, ...], upstream: str, model: str
    ) -> tuple[Account, ...] | None:
        """The same, without asking anybody; None where the store has to be asked."""
        if self._changes.current() != self._stamp or (self._expires and not self._workers.lease_valid):
            return None
        now = self._clock()
        look = self._looks.get((subjects, upstream, model))
        if look is None or now >= look.valid_until:
            look = self._look((subjects, upstream, model), now)
            if look is None:
                return None
        for known in look.known:
            known.used_at = now
        return look.accounts

    async def extend(self, account: Account, amount: int, *, from_others: bool) -> None:
        """Lease so much more of `account` that `amount` of it is room, where that is to be had.

        With `from_others`, other workers are asked for theirs where it is not.
        """
        known = self._subjects.get(account.subject) or self._open(account.subject)
        async with self._asking_about(known):
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
                async with self._asking_about(known):
                    known.stale = True  # whether or not the store hears of it
                    await self._leases.give_back(known.leases())

    async def close_idle(self) -> None:
        """Give back and forget the accounts that nobody has used for a while."""
        idle_since = self._clock() - IDLE_FOR_S
        for subject, known in list(self._subjects.items()):
            if known.used_at > idle_since or known.lock.locked():
                continue
            async with self._asking_about(known):
                if not any(account.held for account in known.accounts.values()):
                    known.stale = True  # nobody holds anything of it from here on
                    await self._leases.close(known.accounts)
                    del self._subjects[subject]

    def _open(self, subject: Subject) -> CachedAccount:
        known = self._subjects[subject] = CachedAccount(subject, used_at=self._clock())
        return known

    def _look(self, draws: Draws, now: float) -> _Look | None:
        """Look up what requests draw on, and remember it; None where the store has to be asked."""
        subjects, upstream, model = draws
        found = [known for subject in subjects if (known := self._subjects.get(subject)) is not None]
        if len(found) < len(subjects) or not all(known.is_valid_at(now) for known in found):
            return None
        look = _Look(found, upstream, model)
        for known in found:
            if len(known.looks) == LOOKS_REMEMBERED:
                self._forget_looks(known)
            known.looks.add(draws)
        if found:
            self._looks[draws] = look
        return look

    def _forget_looks(self, known: CachedAccount) -> None:
        for draws in known.looks:
            self._looks.pop(draws, None)
        known.looks.clear()

    def _outdate(self, known: CachedAccount) -> None:
        known.stale = True
        self._forget_looks(known)

    @asynccontextmanager
    async def _asking_about(self, known: CachedAccount) -> AsyncIterator[None]:
        """While entered, nobody else decides by `known`, nor asks the store about it."""
        async with known.lock:
            self._forget_looks(known)
            yield

    async def _read_changes(self) -> None:
        """Find out whose quotas were changed."""
        async with self._asking:
            stamp = self._changes.current()
            if stamp != self._stamp:
                self.outdate(await self._leases.changed())
                self._stamp = stamp

    async def _refresh(self, known: CachedAccount) -> None:
        async with self._asking_about(known):
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

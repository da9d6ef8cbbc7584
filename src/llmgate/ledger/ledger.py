"""The ledger: hold before a request, settle after it, exactly once, durably.

    async with Ledger.open(store, committer, defaults=...) as ledger:
        async with ledger.charge(exchange, subjects, demand, upstream="vllm", model="llama") as charge:
            ...                                     # from now on even kill -9 does not forget it
            await charge.settle(reading)            # nothing that dies forgets it when this returns

Decisions are made in memory on what this process has leased (see `account_cache`); a record that waits for the
database is in the process's journal meanwhile (see `journal`). By its `durability` a request has ended

- "journal": when its record is there. That survives the death of any process, as a commit does with which the disk
  is not waited for. Records go to the database in groups, a moment later;
- "commit": when its record is in the database.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import StoreError, Unavailable
from .account_cache import AccountCache
from .accounts import Account, Demand, Hold, place_hold
from .charge import Billed, Charge, Payer
from .commit import Committer, GroupCommit
from .journal import Journal
from .leases import Leases
from .model import Default, Entry, Subject, UsageRecord
from .prices import Prices
from .reservations import CountTokens, Reservations
from .slot import Slot
from .upkeep import Upkeep
from .workers import Workers, journals_of

if TYPE_CHECKING:
    from ..store import Store

log = logging.getLogger("llmgate.ledger")

Durability = Literal["journal", "commit"]
GATHER_S = 0.03


@dataclass(frozen=True, slots=True)
class LedgerState:
    """A look at the ledger: quotas by whether any of them is left, and amounts held by unit."""

    accounts: Mapping[str, int]
    held: Mapping[str, int]


class Ledger:
    """See the module's text. Made by `open`."""

    def __init__(
        self,
        leases: Leases,
        cache: AccountCache,
        journal: Journal,
        commits: GroupCommit,
        *,
        fail_open: bool,
        durability: Durability,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        timer: Callable[[], float] = time.monotonic,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._leases = leases
        self._cache = cache
        self._journal = journal
        self._fail_open = fail_open
        self._ends_in_journal = durability == "journal"
        self._reservations = Reservations(cache, sleep=sleep, timer=timer)
        self.accounts_of = cache.get_cached
        """The accounts that a request draws on, by its subjects, upstream and model; good until the caller awaits
        anything. None where the store has to be asked, as `reserve` does."""
        self.timer = timer
        self.clock = clock
        """Seconds since the epoch, of the records that it writes."""
        self.commits = commits
        """The queue of records on their way to the store, for health and metrics."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        store: Store,
        committer: Callable[[], Committer],
        *,
        defaults: Sequence[Default] = (),
        journals: Path | None = None,
        fail_open: bool = False,
        durability: Durability = "commit",
        timeout: float = 5.0,
        gather: float = GATHER_S,
        worker_id: str | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        timer: Callable[[], float] = time.monotonic,
    ) -> AsyncIterator[Ledger]:
        """A ledger over `store`, whose hot write path is what `committer` makes.

        `journals` is the folder of the journals of all workers of this host; beside the file where the
        store is SQLite, else in the working directory. `durability` says when a request has ended (see the
        module's text), and `timeout` how many seconds one waits for its commit at the most; with `fail_open`
        requests pass while the store is away, instead of being refused. What dead workers of this host have
        left is in the ledger when this returns. What is in the journal is written to the database within `gather`
        seconds. Raises `StoreError`.
        """
        workers = Workers(store, journals or journals_of(store), worker_id, timer=timer)
        leases = Leases(store, workers, defaults)
        cache = AccountCache(leases, workers, store.changes, clock=store.clock)
        async with (
            workers,
            GroupCommit(committer(), timeout=timeout, gather=gather, clock=timer, sleep=sleep) as commits,
            Upkeep(workers, cache, commits, store.changes, sleep=sleep, timer=timer),
        ):
            with store.flushed_by(commits.flush):
                yield cls(
                    leases,
                    cache,
                    workers.journal,
                    commits,
                    fail_open=fail_open,
                    durability=durability,
                    sleep=sleep,
                    timer=timer,
                    clock=store.clock,
                )

    def charge(
        self,
        request: Billed,
        subjects: Iterable[Subject] = (),
        demand: Demand | None = None,
        *,
        upstream: str = "",
        model: str = "",
        endpoint: str = "other",
        prices: Prices | None = None,
        booked: int | None = None,
        payer: Payer | None = None,
    ) -> Charge:
        """The charge of `request`, an exchange, to be entered: see `charge`.

        `demand` is held on the quotas of `subjects` that cover `upstream` and `model`; without one, what a layer
        above has held is charged. The record says the upstream and model of the exchange where it knows
        them. `booked` tokens are charged in place of those used; `payer` is recorded in place of the principal.
        """
        return Charge(
            self,
            request,
            subjects,
            demand,
            upstream=upstream,
            model=model,
            endpoint=endpoint,
            prices=prices,
            booked=booked,
            payer=payer,
        )

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
        `QuotaExhausted`; `QuotaHeld` while running requests hold what is left; `Unavailable` while the prompt
        would have to be counted and cannot, or the store does not answer (unless the ledger fails open).
        """
        self._check()
        subjects = tuple(subjects)
        known = self.accounts_of(subjects, upstream, model)
        if known is not None and (hold := self.hold_at_once(known, demand)) is not None:
            if count is None or hold.max_output is None:
                return hold
            hold.release()
        try:
            return await self._reservations.place(subjects, upstream, model, demand, count)
        except StoreError as error:
            if self._fail_open:
                log.warning("a request goes through without a hold: %s", error)
                return Hold()
            raise Unavailable("The ledger cannot be read at the moment. Try again later.") from error

    def hold_at_once(self, accounts: Sequence[Account], demand: Demand) -> Hold | None:
        """Hold `demand` on `accounts`, all of it; None where it takes asking, which `reserve` does.

        Raises `Unavailable` while no record can be written.
        """
        if self.commits.failing is not None:
            self._check()
        hold = place_hold(accounts, demand, lower=False)
        return hold if isinstance(hold, Hold) else None

    async def covers(self, subjects: Iterable[Subject], *, upstream: str = "", model: str = "") -> bool:
        """Whether any quota of `subjects` is drawn on by such a request; True while the store cannot say."""
        subjects = tuple(subjects)
        try:
            return bool(await self._cache.get(subjects, upstream, model))
        except StoreError:
            return True

    def begin(self, record: UsageRecord, hold: Hold | None = None) -> Slot:
        """Keep in mind that a request is under way: should the process die, `record` goes into the ledger.

        What it has used so far is told by `Slot.note`. Raises `Unavailable` while no record can be written.
        """
        if self.commits.failing is not None:
            self._check()
        try:
            return self._journal.open(record, () if hold is None else hold.pledges())
        except StoreError as error:
            log.warning("a request is refused: %s", error)
            raise Unavailable("The ledger cannot be written at the moment. Try again later.") from error

    async def settle(self, record: UsageRecord, hold: Hold | None = None, slot: Slot | None = None) -> None:
        """Write `record` and charge it to what `hold` holds; when this returns no death of a process undoes it.

        It is in the database then, or with durability "journal" in the request's `slot` and on its way there.
        Of several records with the same id the first is written. Raises `StoreError` if it could not be
        written in time; it is then kept, in the journal too if it has a `slot`, and written later.
        """
        if (written := self.end(record, hold, slot)) is not None:
            await written

    def end(
        self, record: UsageRecord, hold: Hold | None = None, slot: Slot | None = None
    ) -> Awaitable[None] | None:
        """`settle`, of which only what it returns is to be awaited, if it returns anything."""
        entry = Entry(record, () if hold is None else hold.settle(record))
        if slot is not None:
            slot.end(record)
            if self._ends_in_journal:
                self.commits.add(entry, slot.free)
                return None
        written = self.commits.submit(entry, None if slot is None else slot.free)
        if self._fail_open and self.commits.failing is not None:
            written.add_done_callback(_seen)
            return None
        return self._written(written, record)

    async def _written(self, written: asyncio.Future[None], record: UsageRecord) -> None:
        try:
            await written  # cancelled or not, the entry is written
        except StoreError:
            if not self._fail_open:
                raise
            log.warning("usage record %s is not written yet", record.request_id)

    def state(self) -> LedgerState:
        """How many quotas are in use here, and what running requests hold, for the metrics."""
        accounts, held = Counter({"open": 0, "exhausted": 0}), Counter[str]()
        for account in self._cache.accounts():
            accounts["open" if account.room > 0 else "exhausted"] += 1
            held[str(account.allotment.unit)] += account.held
        return LedgerState(accounts, held)

    def set_defaults(self, defaults: Sequence[Default]) -> None:
        """Take over the default allotments of a reloaded gate.toml."""
        self._leases.set_defaults(defaults)
        self._cache.outdate()

    def _check(self) -> None:
        if self.commits.failing is not None and not self._fail_open:
            raise Unavailable("The ledger cannot be written at the moment. Try again later.")


def _seen(written: asyncio.Future[None]) -> None:
    if not written.cancelled():
        written.exception()

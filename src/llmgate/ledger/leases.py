"""Leases: how several processes decide about one account without asking each other.

A process spends only what it has leased. In the database, for every quota and its current window,

    used + everything leased to all workers <= limit + overdraft

A worker that is alone leases all that is left, so that it decides locally for as long as it runs. Next to
others it leases slices. A worker that falls short while others hold leases marks the quota as contended:
on the next change signal the others give back what they do not hold at that moment, and for a while slices
are as small as what was asked for. A worker that stops beating loses its leases; it must stop deciding
before that happens (`Leases.fresh`).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from ..store.schema import leases, quotas, workers
from .model import Allotment, Default, Subject, Unit, Window

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..store import Store

DEAD_AFTER = 10.0
"""Seconds without a heartbeat after which a worker's leases return to the accounts."""
FENCED_AFTER = 6.0
"""Seconds without a heartbeat after which a worker no longer trusts its own leases."""
CONTENDED_FOR = 30.0
"""Seconds for which slices stay small after a worker fell short."""


class Grant(NamedTuple):
    """What the store says of one quota when it is leased: its terms, its window, and what was granted now."""

    quota_id: int
    allotment: Allotment
    window_start: float
    window_end: float
    used: int
    granted: int
    whole: bool
    """Nothing of it is left to lease, neither in the store nor with other workers."""


class GivenBack(NamedTuple):
    """A part of a lease that the worker does not need any more."""

    quota_id: int
    window_start: float
    amount: int


class Leases:
    """The leases of one worker, in the store. Every method is one transaction; raises `StoreError`."""

    def __init__(
        self,
        store: Store,
        worker_id: str,
        defaults: Sequence[Default],
        *,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._worker_id = worker_id
        self._clock = clock
        self._defaults = defaults
        self._beaten = -float("inf")

    @property
    def fresh(self) -> bool:
        """Whether this worker may still trust its leases."""
        return self._clock() - self._beaten < FENCED_AFTER

    def set_defaults(self, defaults: Sequence[Default]) -> None:
        """Take over the default allotments of a reloaded gate.toml."""
        self._defaults = defaults

    async def register(self) -> None:
        """Announce this worker."""
        now = self._clock()
        async with self._store.begin() as db:
            await self._announce(db, now)
        self._beaten = now

    async def beat(self) -> bool:
        """Say that this worker lives, and bury those that have not said so for too long.

        False if this worker itself was buried: its leases are gone.
        """
        now = self._clock()
        async with self._store.begin() as db:
            me = await db.execute(
                sa.update(workers).where(workers.c.id == self._worker_id).values(seen_at=now)
            )
            if buried := me.rowcount == 0:
                await self._announce(db, now)
            dead = sa.select(workers.c.id).where(workers.c.seen_at < now - DEAD_AFTER)
            await db.execute(sa.delete(leases).where(leases.c.worker_id.in_(dead)))
            await db.execute(sa.delete(workers).where(workers.c.seen_at < now - DEAD_AFTER))
        self._beaten = now
        return not buried

    async def _announce(self, db: AsyncConnection, now: float) -> None:
        await db.execute(
            sa.insert(workers).values(
                id=self._worker_id, host=socket.gethostname(), pid=os.getpid(), started_at=now, seen_at=now
            )
        )

    async def leave(self) -> None:
        """Give everything back and sign off."""
        async with self._store.begin() as db:
            await db.execute(sa.delete(leases).where(leases.c.worker_id == self._worker_id))
            await db.execute(sa.delete(workers).where(workers.c.id == self._worker_id))

    async def clear_dead(self) -> None:
        """Drop the leases of every other worker: only for one who knows to be the only living process."""
        async with self._store.begin() as db:
            await db.execute(sa.delete(leases).where(leases.c.worker_id != self._worker_id))
            await db.execute(sa.delete(workers).where(workers.c.id != self._worker_id))

    async def lease(
        self, subject: Subject, *, want: Mapping[int, int] | None = None, give_back: Iterable[GivenBack] = ()
    ) -> list[Grant]:
        """Lease from every quota of `subject`, at least `want[quota_id]` of it where that much is free.

        What is given back is returned first. Quotas that gate.toml gives to every subject of this kind are
        opened on first sight.
        """
        now = self._clock()
        async with self._store.begin() as db:
            for part in give_back:
                await self._return(db, part)
            await self._open_defaults(db, subject, now)
            rows = (await db.execute(_quotas_of(subject))).mappings().all()
            live = await db.scalar(
                sa.select(sa.func.count()).select_from(workers).where(workers.c.seen_at >= now - DEAD_AFTER)
            )
            grants = []
            for row in rows:
                allotment = self._terms(subject, row)
                if allotment is not None:
                    wanted = (want or {}).get(row["id"], 0)
                    grants.append(await self._grant(db, row, allotment, wanted, int(live or 1), now))
            return grants

    async def contend(self, quota_ids: Iterable[int]) -> None:
        """Ask the other workers for what they do not need of these quotas."""
        now = self._clock()
        async with self._store.begin() as db:
            await db.execute(
                sa.update(quotas).where(quotas.c.id.in_(list(quota_ids))).values(contended_at=now)
            )
        self._store.changes.bump()

    async def contended(self) -> set[int]:
        """The quotas of which some worker has lately asked for more than was free."""
        since = self._clock() - CONTENDED_FOR
        async with self._store.connect() as db:
            return set(await db.scalars(sa.select(quotas.c.id).where(quotas.c.contended_at > since)))

    async def give_back(self, parts: Iterable[GivenBack]) -> None:
        """Return parts of leases."""
        async with self._store.begin() as db:
            for part in parts:
                await self._return(db, part)

    async def _return(self, db: AsyncConnection, part: GivenBack) -> None:
        await db.execute(
            sa.update(leases)
            .where(
                leases.c.quota_id == part.quota_id,
                leases.c.worker_id == self._worker_id,
                leases.c.window_start == part.window_start,
            )
            .values(amount=leases.c.amount - part.amount)
        )

    async def _open_defaults(self, db: AsyncConnection, subject: Subject, now: float) -> None:
        for default in self._defaults:
            if default.kind == subject.kind:
                allotment = default.allotment
                identity = {
                    "subject_kind": subject.kind,
                    "subject_id": subject.id,
                    "unit": str(allotment.unit),
                    "upstream": allotment.upstream,
                    "model": allotment.model,
                    "window": str(allotment.window),
                }
                there = sa.select(sa.literal(1)).where(
                    *(quotas.c[name] == value for name, value in identity.items())
                )
                if await db.scalar(there) is None:
                    start, _ = allotment.window.bounds(now)
                    await db.execute(sa.insert(quotas).values(**identity, window_start=start, updated_at=now))

    def _terms(self, subject: Subject, row: sa.RowMapping) -> Allotment | None:
        """The allotment of a quota row. A row without a limit stands for gate.toml's; None if that is gone."""
        if row["limit"] is not None:
            return allotment_of(row)
        for default in self._defaults:
            allotment = default.allotment
            if default.kind == subject.kind and (
                (allotment.unit, allotment.upstream, allotment.model, allotment.window)
                == (row["unit"], row["upstream"], row["model"], row["window"])
            ):
                return allotment
        return None

    async def _grant(
        self,
        db: AsyncConnection,
        row: sa.RowMapping,
        allotment: Allotment,
        wanted: int,
        live: int,
        now: float,
    ) -> Grant:
        start, end = allotment.window.bounds(now)
        used, quota_id = row["used"], row["id"]
        if row["window_start"] < start:
            used = 0
            await db.execute(
                sa.update(quotas).where(quotas.c.id == quota_id).values(used=0, window_start=start)
            )
            await db.execute(sa.delete(leases).where(leases.c.quota_id == quota_id))
        elif row["window_start"] > start:  # the clock went back: a window that was opened stays open
            start, end = row["window_start"], allotment.window.bounds(row["window_start"])[1]
        others, mine = await self._leased(db, quota_id)
        free = max(0, allotment.limit + allotment.overdraft - used - others - max(0, mine or 0))
        contended = row["contended_at"] is not None and now - row["contended_at"] < CONTENDED_FOR
        granted = _slice(free, wanted, live, contended=contended)
        await self._book(db, quota_id, start, granted, new=mine is None)
        return Grant(quota_id, allotment, start, end, used, granted, whole=not others and granted == free)

    async def _leased(self, db: AsyncConnection, quota_id: int) -> tuple[int, int | None]:
        rows = await db.execute(
            sa.select(leases.c.worker_id, leases.c.amount).where(leases.c.quota_id == quota_id)
        )
        amounts = {row.worker_id: row.amount for row in rows}
        mine = amounts.pop(self._worker_id, None)
        return sum(max(0, amount) for amount in amounts.values()), mine

    async def _book(
        self, db: AsyncConnection, quota_id: int, start: float, granted: int, *, new: bool
    ) -> None:
        if new:
            await db.execute(
                sa.insert(leases).values(
                    quota_id=quota_id, worker_id=self._worker_id, window_start=start, amount=granted
                )
            )
        elif granted:
            await db.execute(
                sa.update(leases)
                .where(leases.c.quota_id == quota_id, leases.c.worker_id == self._worker_id)
                .values(amount=leases.c.amount + granted)
            )


def _quotas_of(subject: Subject) -> sa.Select[tuple[object, ...]]:
    return (
        sa.select(quotas)
        .where(quotas.c.subject_kind == subject.kind, quotas.c.subject_id == subject.id)
        .order_by(quotas.c.id)
        .with_for_update()
    )


def _slice(free: int, wanted: int, live: int, *, contended: bool) -> int:
    """How much of what is free one of `live` workers gets."""
    if live <= 1:
        return free
    if contended:
        return min(free, wanted)
    return min(free, max(wanted, free // (4 * live)))


def allotment_of(row: sa.RowMapping) -> Allotment:
    """The allotment that a row of `quotas` holds."""
    return Allotment(
        unit=Unit(row["unit"]),
        limit=row["limit"],
        window=Window(row["window"]),
        upstream=row["upstream"],
        model=row["model"],
        overdraft=row["overdraft"],
    )

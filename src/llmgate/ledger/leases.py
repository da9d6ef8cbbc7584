"""Leases: how several processes decide about one account without asking each other.

A process spends only what it has leased: what was given to it, less what it has spent of that. In the
database, for every quota and its current window,

    used + sum(max(granted, retained) - spent, over all workers) <= limit + overdraft

unless a limit was lowered under what is leased, or a backend overran what was held; then nothing
is leased until it holds again. A worker that is alone leases all that is left, so that it decides locally
for as long as it runs. Next to others it leases slices. A worker that falls short while others hold leases
marks the quota as contended: on the next change signal the others give back what they do not hold at that
moment, and for a while slices are as small as what was asked for.

A worker tells the store what it must keep, in absolute numbers, and is told what it has, in absolute
numbers; so a transaction of which it never heard whether it was committed is put right by the next one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from ..store.schema import leases, quotas
from .model import Allotment, Default, Subject, Unit, Window

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..store import Store
    from .workers import Workers

CONTENDED_FOR_S = 30.0
"""Seconds for which slices stay small after a worker fell short."""
OVERLAP_S = 60.0
"""Seconds between the stamps of two changes that may become visible in the other order."""
NOTHING = Allotment(Unit.TOKENS, 0)


class Lease(NamedTuple):
    """What a worker has of one quota in one window: said to the store with what is wanted, and said back by it.

    A worker says what it has `retained`, spent or held by running requests, and how much more is `wanted` at
    least. The store says on which terms, until when they hold, and how much is `granted` in all, what is spent
    included.
    """

    quota_id: int
    window_start: float
    retained: int = 0
    wanted: int = 0
    granted: int = 0
    allotment: Allotment = NOTHING
    valid_until: float = 0.0
    """When the window ends, or the quota expires."""
    others: int = 0
    """What other workers have leased or hold, and have not spent."""
    unleased: int = 0
    """What nobody has leased."""
    fully_leased: bool = False
    """Nothing of it is left to lease, neither in the store nor with other workers."""


class Leases:
    """The leases of one worker, in the store. Every method is one transaction; raises `StoreError`."""

    def __init__(self, store: Store, workers: Workers, defaults: Sequence[Default]) -> None:
        self._store = store
        self._workers = workers
        self._defaults = defaults
        self._last_change = 0.0

    def set_defaults(self, defaults: Sequence[Default]) -> None:
        """Take over the default allotments of a reloaded gate.toml."""
        self._defaults = defaults

    async def changed(self) -> set[Subject]:
        """Whose quotas operators have changed since this was last asked; too many rather than too few."""
        query = sa.select(quotas.c.subject_kind, quotas.c.subject_id, quotas.c.updated_at)
        async with self._store.connect() as db:
            rows = (
                await db.execute(query.where(quotas.c.updated_at >= max(1.0, self._last_change - OVERLAP_S)))
            ).all()
        self._last_change = max((row.updated_at for row in rows), default=self._last_change)
        return {Subject(row.subject_kind, row.subject_id) for row in rows}

    async def lease(self, subject: Subject, mine: Iterable[Lease] = ()) -> list[Lease]:
        """Lease from every quota of `subject`: what this worker retains of `mine`, wants, and more if it is free.

        Quotas that gate.toml gives to every subject of this kind are opened on first sight. Raises `WorkerExpired`
        where this worker is not one of the living.
        """
        defaults = [default.allotment for default in self._defaults if default.kind == subject.kind]
        if not defaults and not await self._has_quotas(subject):
            return []
        present = {(lease.quota_id, lease.window_start): lease for lease in mine}
        async with self._store.begin() as db:
            live = await self._workers.count(db)
            await self._open(db, subject, defaults)
            rows = (await db.execute(_quotas_of(subject).with_for_update())).mappings().all()
            leased = []
            for row in rows:
                if (allotment := terms_of(row, defaults)) is not None:
                    leased.append(await self._grant(db, row, allotment, present, live))
            return leased

    async def give_back(self, mine: Iterable[Lease]) -> None:
        """Return all of these leases but what is retained."""
        async with self._store.begin() as db:
            for lease in mine:
                this = *self._mine(lease.quota_id), leases.c.window_start == lease.window_start
                values = {"granted": lease.retained, "retained": lease.retained}
                await db.execute(sa.update(leases).where(*this).values(values))

    async def close(self, quota_ids: Iterable[int]) -> None:
        """Return these leases altogether, which nothing is held of any more."""
        await self._store.flush()  # what was spent of them has to be in the accounts before
        async with self._store.begin() as db:
            for quota_id in quota_ids:
                await db.execute(sa.delete(leases).where(*self._mine(quota_id)))

    async def contend(self, quota_id: int) -> None:
        """Ask the other workers for what they do not need of this quota."""
        values = {"contended_at": self._store.clock()}
        async with self._store.change() as db:
            await db.execute(sa.update(quotas).where(quotas.c.id == quota_id).values(values))

    async def contended(self) -> set[int]:
        """The quotas of which some worker has lately asked for more than was free."""
        since = self._store.clock() - CONTENDED_FOR_S
        async with self._store.connect() as db:
            return set(await db.scalars(sa.select(quotas.c.id).where(quotas.c.contended_at > since)))

    async def _has_quotas(self, subject: Subject) -> bool:
        async with self._store.connect() as db:
            return (await db.execute(_quotas_of(subject).limit(1))).first() is not None

    async def _open(self, db: AsyncConnection, subject: Subject, defaults: Iterable[Allotment]) -> None:
        now = self._store.clock()
        rows = [
            {
                **identity_of(subject, allotment),
                "window_start": allotment.bounds(now)[0],
                "updated_at": 0.0,
            }
            for allotment in defaults
        ]
        if rows:
            await db.execute(self._store.insert(quotas).on_conflict_do_nothing(), rows)

    async def _grant(
        self,
        db: AsyncConnection,
        row: sa.RowMapping,
        allotment: Allotment,
        present: Mapping[tuple[int, float], Lease],
        live: int,
    ) -> Lease:
        quota_id, now = row["id"], self._store.clock()
        start, end, used = await self._turn(db, row, allotment, now)
        lease = present.get((quota_id, start)) or Lease(quota_id, start)
        others, spent = await self._leased(db, quota_id, start)
        out = max(0, lease.retained - (spent or 0))
        free = allotment.most(now) - used - others - out
        contended = row["contended_at"] is not None and now - row["contended_at"] < CONTENDED_FOR_S
        # Where a limit was lowered under what is held, requests go on, and what they leave is not room.
        more = _slice(free, lease.wanted, live, contended=contended) if free >= 0 else max(free, -out)
        granted = lease.retained + more
        values = {"granted": granted, "retained": lease.retained}
        if spent is None:
            await db.execute(sa.delete(leases).where(*self._mine(quota_id)))
            key = {"quota_id": quota_id, "worker_id": self._workers.worker_id, "window_start": start}
            await db.execute(sa.insert(leases).values(**key, **values))
        else:
            await db.execute(sa.update(leases).where(*self._mine(quota_id)).values(values))
        return lease._replace(
            granted=granted,
            allotment=allotment,
            valid_until=allotment.valid_until(end, now),
            others=others,
            unleased=max(0, free - more),
            fully_leased=not others and more >= free,
        )

    async def _turn(
        self, db: AsyncConnection, row: sa.RowMapping, allotment: Allotment, now: float
    ) -> tuple[float, float, int]:
        """Start and end of the window that holds now, opened if it is new, and what was used in it.

        A clock that went back does not bring the last window back: the one that was opened stays. Only a
        window that begins after the next one can have been opened by nothing but a wrong clock; it is
        taken back, with what was used in it.
        """
        start, end = allotment.bounds(now)
        opened, used = row["window_start"], row["used"]
        if start < opened <= end:
            return opened, allotment.bounds(opened)[1], used
        if opened < start:
            used = 0
            await db.execute(sa.delete(leases).where(leases.c.quota_id == row["id"]))
        if opened != start:
            await db.execute(
                sa.update(quotas).where(quotas.c.id == row["id"]).values(used=used, window_start=start)
            )
        return start, end, used

    async def _leased(self, db: AsyncConnection, quota_id: int, start: float) -> tuple[int, int | None]:
        """What others have to spend, of whatever window, and what this worker has spent of its lease, if any.

        What they hold counts even where the lease was taken back below it, as when a limit is lowered. A lease that
        a backend has overrun is used up, and no more: the excess is in the quota's `used`.
        """
        rows = (await db.execute(sa.select(leases).where(leases.c.quota_id == quota_id))).all()
        own = self._workers.worker_id
        others = sum(
            max(0, max(row.granted, row.retained) - row.spent) for row in rows if row.worker_id != own
        )
        mine = [row.spent for row in rows if row.worker_id == own and row.window_start == start]
        return others, mine[0] if mine else None

    def _mine(self, quota_id: int) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
        return leases.c.quota_id == quota_id, leases.c.worker_id == self._workers.worker_id


def identity_of(subject: Subject, allotment: Allotment) -> dict[str, str | int]:
    """The columns of `quotas` that tell one quota from all others."""
    return {
        "subject_kind": subject.kind,
        "subject_id": subject.id,
        "unit": str(allotment.unit),
        "upstream": allotment.upstream,
        "model": allotment.model,
        "window": str(allotment.window),
    }


def allotment_of(row: sa.RowMapping) -> Allotment:
    """The allotment that a row of `quotas` holds."""
    return Allotment(
        unit=Unit(row["unit"]),
        limit=row["limit"],
        window=Window(row["window"]),
        upstream=row["upstream"],
        model=row["model"],
        overdraft=row["overdraft"],
        anchor=row["anchor"],
        expires_at=row["expires_at"],
    )


def terms_of(row: sa.RowMapping, defaults: Iterable[Allotment]) -> Allotment | None:
    """The allotment of a quota row. A row without a limit stands for gate.toml's; None if that is gone."""
    if row["limit"] is not None:
        return allotment_of(row)
    thing = (row["unit"], row["upstream"], row["model"], row["window"])
    for allotment in defaults:
        if thing == (allotment.unit, allotment.upstream, allotment.model, allotment.window):
            return allotment
    return None


def _quotas_of(subject: Subject) -> sa.Select[tuple[object, ...]]:
    return (
        sa.select(quotas)
        .where(quotas.c.subject_kind == subject.kind, quotas.c.subject_id == subject.id)
        .order_by(quotas.c.id)
    )


def _slice(free: int, wanted: int, live: int, *, contended: bool) -> int:
    """How much of what is free one of `live` workers gets."""
    if live <= 1:
        return free
    if contended:
        return min(free, wanted)
    return min(free, max(wanted, free // (4 * live)))

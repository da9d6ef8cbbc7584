"""Quotas as operators and surfaces see them: set, read, reset. Every change holds at once in every process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ..errors import BadRequest, Forbidden, NotFound
from ..store.schema import quotas
from .leases import allotment_of, identity_of, terms_of
from .model import MAX_AMOUNT, Allotment, Balance, Default, Subject, Unit

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..store import Store


class Quotas:
    """The quotas in `store`, and those that gate.toml gives to everybody (`defaults`)."""

    def __init__(self, store: Store, defaults: Sequence[Default] = ()) -> None:
        self._store = store
        self._defaults = defaults

    async def set(self, subject: Subject, allotment: Allotment, *, may_raise: bool = True) -> Balance:
        """Give `subject` this allotment, in place of one for the same unit, upstream, model and window.

        What was already used stays used. Raises `BadRequest` for numbers out of range, and `Forbidden` for
        more than now, unless `may_raise`.
        """
        async with self._store.change() as db:
            if not may_raise:
                await self._refuse_more(db, subject, allotment)
            return await self.give(db, subject, allotment)

    async def give(
        self, db: AsyncConnection, subject: Subject, allotment: Allotment, *, used: int = 0
    ) -> Balance:
        """`set` as a part of the transaction `db`, for a subject that is made in it: nobody knows it yet.

        `used` is what was used of it in this window before it came here.
        """
        if not 0 <= allotment.limit <= MAX_AMOUNT or not 0 <= allotment.overdraft <= MAX_AMOUNT:
            raise BadRequest(f"A limit must be from 0 to {MAX_AMOUNT}.", param="limit")
        now = self._store.clock()
        values = {
            "limit": allotment.limit,
            "overdraft": allotment.overdraft,
            "anchor": allotment.anchor,
            "expires_at": allotment.expires_at,
            "updated_at": await _stamp(db, now),
        }
        row = await _find(db, subject, allotment)
        if row is None:
            start, _ = allotment.bounds(now)
            await db.execute(
                sa.insert(quotas).values(
                    **identity_of(subject, allotment), **values, window_start=start, used=used
                )
            )
        else:
            await db.execute(sa.update(quotas).where(quotas.c.id == row["id"]).values(**values))
        row = await _find(db, subject, allotment)
        assert row is not None
        return _balance(row, allotment, now)

    async def grow(self, db: AsyncConnection, subject: Subject, allotment: Allotment, by: int) -> Balance:
        """Add `by` to the limit that holds for what `allotment` is for, and to its own where none holds yet.

        A part of the transaction `db`, which has to be a `Store.change`: what was bought is there exactly if
        what paid for it is. A negative `by` takes back, down to a limit of 0. With `allotment.expires_at` all of it
        lasts until then; what had expired before is gone. Raises `BadRequest` past 2**62.
        """
        start, _ = allotment.bounds(self._store.clock())
        row: dict[str, Any] = {**identity_of(subject, allotment), "window_start": start, "updated_at": 0.0}
        first = self._default(subject, allotment) or allotment
        row |= {"limit": first.limit, "overdraft": first.overdraft}
        row |= {"anchor": first.anchor, "expires_at": first.expires_at}
        # There has to be a row to lock: of two that find none, the second would overwrite the first.
        await db.execute(self._store.insert(quotas).values(row).on_conflict_do_nothing())
        present = await self._present(db, subject, allotment) or allotment
        limit, expires_at = present.limit, allotment.expires_at or present.expires_at
        if _expired(present, self._store.clock()):
            stored = await _find(db, subject, allotment)
            limit = 0 if stored is None else stored["used"]
        grown = replace(present, limit=max(0, limit + by), expires_at=expires_at)
        return await self.give(db, subject, grown)

    async def replace(
        self, subject: Subject, allotment: Allotment, *, db: AsyncConnection | None = None
    ) -> Balance:
        """`set`, in place of every quota for the same unit, upstream and model, whatever its window was.

        With an `anchor` of now a period begins now, with nothing used in it. `db`: a `Store.change` of the caller's
        that this is to be a part of.
        """
        same = [
            quotas.c[name] == value
            for name, value in identity_of(subject, allotment).items()
            if name != "window"
        ]
        async with self._store.change(db) as conn:
            others = sa.update(quotas).where(*same, quotas.c.window != str(allotment.window))
            stamp = await _stamp(conn, self._store.clock())
            await conn.execute(others.values(**_REMOVED, updated_at=stamp))
            return await self.give(conn, subject, allotment)

    async def clear(self, subject: Subject, unit: Unit, *, db: AsyncConnection | None = None) -> None:
        """Take every quota of `subject` in this unit away, as `remove` does. `db`: see `replace`."""
        mine = (quotas.c.subject_kind == subject.kind) & (quotas.c.subject_id == subject.id)
        async with self._store.change(db) as conn:
            stamp = await _stamp(conn, self._store.clock())
            update = sa.update(quotas).where(mine, quotas.c.unit == unit)
            await conn.execute(update.values(**_REMOVED, updated_at=stamp))

    async def of(self, subject: Subject) -> list[Balance]:
        """Where every quota of `subject` stands, those of gate.toml included."""
        await self._store.flush()
        now = self._store.clock()
        async with self._store.connect() as db:
            rows = (
                await db.execute(
                    sa.select(quotas)
                    .where(quotas.c.subject_kind == subject.kind, quotas.c.subject_id == subject.id)
                    .order_by(quotas.c.id)
                )
            ).mappings()
            stored = {_thing(row): row for row in rows}
        balances = []
        for default in self._defaults:
            if default.kind == subject.kind:
                allotment = default.allotment
                thing = (allotment.unit, allotment.upstream, allotment.model, allotment.window)
                row = stored.get(thing)
                if row is None:
                    start, end = allotment.bounds(now)
                    balances.append(Balance(0, subject, allotment, 0, start, end))
                elif row["limit"] is None:
                    balances.append(_balance(row, allotment, now))
        own = [_balance(row, allotment_of(row), now) for row in stored.values() if row["limit"] is not None]
        return own + balances

    async def reset(self, quota_id: int) -> None:
        """Forget what was used in the current window. Raises `NotFound`."""
        await self._update(quota_id, used=0)

    async def remove(self, quota_id: int) -> None:
        """Take a quota away; gate.toml's default for the same thing holds again. Raises `NotFound`.

        What was used in the current window stays used, under the default or a quota that is set later.
        """
        await self._update(quota_id, **_REMOVED)

    async def _refuse_more(self, db: AsyncConnection, subject: Subject, wanted: Allotment) -> None:
        present = await self._present(db, subject, wanted)
        if present is not None and wanted.limit + wanted.overdraft > present.limit + present.overdraft:
            raise Forbidden(f"The limit is {present.limit}. Only an administrator can raise it.")

    async def _present(self, db: AsyncConnection, subject: Subject, thing: Allotment) -> Allotment | None:
        row = await _find(db, subject, thing)
        return self._default(subject, thing) if row is None or row["limit"] is None else allotment_of(row)

    def _default(self, subject: Subject, wanted: Allotment) -> Allotment | None:
        thing = identity_of(subject, wanted)
        mine = [default.allotment for default in self._defaults if default.kind == subject.kind]
        return next((allotment for allotment in mine if identity_of(subject, allotment) == thing), None)

    def _in_force(self, row: sa.RowMapping) -> bool:
        kind = row["subject_kind"]
        defaults = [default.allotment for default in self._defaults if default.kind == kind]
        return terms_of(row, defaults) is not None

    async def _update(self, quota_id: int, **values: object) -> None:
        this = quotas.c.id == quota_id
        async with self._store.change() as db:
            row = (await db.execute(sa.select(quotas).where(this).with_for_update())).mappings().one_or_none()
            if row is None or not self._in_force(row):
                raise NotFound(f"There is no quota {quota_id}.")
            stamp = await _stamp(db, self._store.clock())
            await db.execute(sa.update(quotas).where(this).values(**values, updated_at=stamp))


_REMOVED: Mapping[str, Any] = MappingProxyType(
    {"limit": None, "overdraft": 0, "anchor": 0.0, "expires_at": None}
)


def _expired(allotment: Allotment, now: float) -> bool:
    return allotment.expires_at is not None and now >= allotment.expires_at


def _thing(row: sa.RowMapping) -> tuple[str, str, str, str]:
    return row["unit"], row["upstream"], row["model"], row["window"]


async def _stamp(db: AsyncConnection, now: float) -> float:
    """When a change is said to be made: never before an earlier one, so that `Leases.changed` finds it."""
    return max(now, await db.scalar(sa.select(sa.func.max(quotas.c.updated_at))) or 0.0)


async def _find(db: AsyncConnection, subject: Subject, allotment: Allotment) -> sa.RowMapping | None:
    identity = identity_of(subject, allotment)
    query = sa.select(quotas).where(*(quotas.c[name] == value for name, value in identity.items()))
    query = query.with_for_update()
    return (await db.execute(query)).mappings().one_or_none()


def _balance(row: sa.RowMapping, allotment: Allotment, now: float) -> Balance:
    start, end = allotment.bounds(now)
    used = row["used"] if row["window_start"] >= start else 0
    subject = Subject(row["subject_kind"], row["subject_id"])
    return Balance(
        row["id"], subject, allotment, used, start, end, row["updated_at"], _expired(allotment, now)
    )

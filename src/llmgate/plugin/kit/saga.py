"""Sagas: work in steps, each written down together with what it did, so that it happens exactly once.

A row is a saga. A step is a compare-and-set on its `version`, in one transaction with the step's effect on the store
and with the event that tells of it: whoever comes second, after a crash or in another process, changes nothing. What
is outside of the transaction, a payment for example, is asked again after a crash, and knows the saga by its id.

    sagas = sa.Table("my_sagas", metadata, Column("id", Text, primary_key=True), ..., *saga_columns("my_sagas"))

    class Orders(Steps[Order]):
        def step(self, order):
            return {"NEW": self._reserve, "RESERVED": self._deliver}[order.status]

        async def _reserve(self, order):
            return await self.to(order, "RESERVED", effect=..., payment=await self._bank.reserve(order))

    async with periodic("orders", Orders(Sagas(store, sagas, Order, what="order"), clock=store.clock).run) as wake: ...
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import sqlalchemy as sa

from ..api import BadRequest, GateError, NotFound, StoreError
from .periodic import backoff
from .tables import required

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..api import AnyCall, Store

log = logging.getLogger("llmgate")

MAX_WAIT_S = 60.0
"""Between two tries of a step that fails."""
MAX_KEY = 100
"""Characters of an Idempotency-Key."""

Effect = Callable[["AsyncConnection"], Awaitable[object]]


class Overtaken(Exception):
    """Somebody else has taken this step."""


class Row(Protocol):
    """What a saga has besides what it is about. `due_at`: when its next step may be tried; None: never again."""

    @property
    def id(self) -> Any:
        """How it is told from others."""

    @property
    def status(self) -> str:
        """How far it has come."""

    @property
    def version(self) -> int:
        """How often it was changed."""

    @property
    def attempts(self) -> int:
        """Tries of the step that is due which have failed."""


RowT = TypeVar("RowT", bound=Row)


def saga_columns(table: str) -> list[sa.schema.SchemaItem]:
    """The columns that the sagas in `table` have besides their id and what they are about, and their index."""
    return [
        *required(status=sa.Text, version=sa.Integer, attempts=sa.Integer),
        sa.Column("due_at", sa.Double),
        *required(created_at=sa.Double, updated_at=sa.Double),
        sa.Index(f"ix_{table}_due_at", "due_at"),
    ]


class Sagas(Generic[RowT]):
    """The sagas in `table`, each made into what it is here by `make`; `what` is what messages call one.

    `announce` is told of each new status in the transaction that writes it. All methods raise `StoreError`.
    """

    def __init__(
        self,
        store: Store,
        table: sa.Table,
        make: Callable[..., RowT],
        *,
        what: str,
        announce: Callable[[AsyncConnection, RowT], Awaitable[object]] | None = None,
    ) -> None:
        self.store = store
        self._table = table
        self._make = make
        self._what = what
        self._announce = announce

    async def begin(self, values: Mapping[str, Any], *, same: sa.ColumnElement[bool]) -> tuple[RowT, bool]:
        """A new saga that is due at once, and True; or the present one that `same` describes, and False.

        `same` names columns that no two sagas have alike, a caller and an idempotency key for example.
        """
        now = self.store.clock()
        row = {**values, "version": 0, "attempts": 0, "due_at": now, "created_at": now, "updated_at": now}
        insert = self.store.insert(self._table).values(row).on_conflict_do_nothing()
        async with self.store.begin() as db:
            made = (await db.execute(insert.returning(self._table))).first()
            if made is None:
                return self._made((await db.execute(sa.select(self._table).where(same))).one()), False
            saga = self._made(made)
            await self._tell(db, saga)
            return saga, True

    async def by_id(self, saga_id: object) -> RowT:
        """The saga with this id. Raises `NotFound`."""
        found = await self.where(self._table.c.id == saga_id)
        if not found:
            raise NotFound(f"There is no such {self._what}.")
        return found[0]

    async def due(self, limit: int = 100) -> list[RowT]:
        """Those whose next step may be tried now, the longest waiting first."""
        return await self.where(self._table.c.due_at <= self.store.clock(), order="due_at", limit=limit)

    async def where(
        self, where: sa.ColumnElement[bool], *, order: str = "created_at", limit: int = 100
    ) -> list[RowT]:
        """Those for which `where` holds, by `order`."""
        query = sa.select(self._table).where(where).order_by(self._table.c[order]).limit(limit)
        async with self.store.connect() as db:
            return [self._made(row) for row in await db.execute(query)]

    async def interrupt(self, where: sa.ColumnElement[bool], values: Mapping[str, Any]) -> RowT | None:
        """Write `values` from outside of its steps, after which it is due; None where `where` does not hold."""
        now = self.store.clock()
        bumped = {**values, "due_at": now, "updated_at": now, "version": self._table.c.version + 1}
        async with self.store.begin() as db:
            update = self._table.update().where(where).values(bumped).returning(self._table)
            row = (await db.execute(update)).first()
        return None if row is None else self._made(row)

    async def take_step(
        self,
        saga: RowT,
        status: str,
        *,
        due_at: float | None,
        effect: Effect | None = None,
        changes: Mapping[str, object] = MappingProxyType({}),
    ) -> RowT:
        """Bring `saga` to `status`, with `changes` of other columns, and do `effect`, all or nothing.

        `effect` is done in a `Store.change`. Raises `Overtaken` if the saga is not any more what the caller has seen.
        """
        seen = (self._table.c.id == saga.id) & (self._table.c.version == saga.version)
        now = self.store.clock()
        values = {
            "status": status,
            "due_at": due_at,
            "updated_at": now,
            "version": saga.version + 1,
            **changes,
        }
        update = self._table.update().where(seen).values(values).returning(self._table)
        async with self.store.change() if effect is not None else self.store.begin() as db:
            row = (await db.execute(update)).first()
            if row is None:
                raise Overtaken
            if effect is not None:
                await effect(db)
            taken = self._made(row)
            if status != saga.status:
                await self._tell(db, taken)
            return taken

    def _made(self, row: sa.Row[Any]) -> RowT:
        return self._make(**row._asdict())

    async def _tell(self, db: AsyncConnection, saga: RowT) -> None:
        if self._announce is not None:
            await self._announce(db, saga)


class Steps(Generic[RowT]):
    """Takes `sagas` from step to step: at once, again after a failure with growing pauses, and after a crash."""

    def __init__(self, sagas: Sagas[RowT], *, clock: Callable[[], float], what: str = "saga") -> None:
        self._sagas = sagas
        self._clock = clock
        self._what = what

    @abstractmethod
    def step(self, saga: RowT) -> Callable[[RowT], Awaitable[RowT]]:
        """What is to be done next with one that is due."""

    async def run(self) -> None:
        """Bring every saga that is due as far as it gets."""
        while due := await self._sagas.due():
            for saga in due:
                await self.advance(saga)

    async def advance(self, saga: RowT) -> RowT | None:
        """Take the next step; returns the saga after it, or None where somebody else has taken it."""
        try:
            return await self._try(saga)
        except Overtaken:
            return None

    async def to(self, saga: RowT, status: str, effect: Effect | None = None, **values: object) -> RowT:
        """Go on to `status`, from where the next step may be taken at once."""
        changes = {"attempts": 0, **values}
        return await self._sagas.take_step(saga, status, due_at=self._clock(), effect=effect, changes=changes)

    async def end(self, saga: RowT, status: str) -> RowT:
        """Go to `status`, in which there is nothing left to do."""
        return await self._sagas.take_step(saga, status, due_at=None)

    async def wait(self, saga: RowT, until: float, **values: object) -> RowT:
        """Try this step again, not before `until`."""
        return await self._sagas.take_step(saga, saga.status, due_at=until, changes=values)

    async def _try(self, saga: RowT) -> RowT:
        try:
            return await self.step(saga)(saga)
        except (Overtaken, StoreError):
            raise
        except Exception as error:  # whatever it is: one saga must not hold up the others
            known = isinstance(error, GateError)
            log.warning("%s %s: %r", self._what, saga.id, error, exc_info=not known)
        wait = backoff(saga.attempts, longest=MAX_WAIT_S)
        return await self.wait(saga, self._clock() + wait, attempts=saga.attempts + 1)


def idempotency_key(call: AnyCall) -> str | None:
    """The request's Idempotency-Key, if it has one. Raises `BadRequest` as `checked_key` does."""
    return checked_key(call.header("idempotency-key"))


def checked_key(key: str | None) -> str | None:
    """An Idempotency-Key as it came. Raises `BadRequest` unless it has 1 to 100 printable characters."""
    if key is not None and not (0 < len(key) <= MAX_KEY and key.isprintable()):
        raise BadRequest(f"Idempotency-Key: expected 1 to {MAX_KEY} printable characters")
    return key

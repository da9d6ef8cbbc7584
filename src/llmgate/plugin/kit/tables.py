"""A plugin's tables: their columns in few words, and the rows of one as values of one type.

metadata = sa.MetaData()
models = sa.Table(
    "my_models", metadata, id_column(), *required(name=Text, is_public=Boolean), *optional(description=Text),
    *required(created_at=Double, updated_at=Double), sa.UniqueConstraint("name"), **NEVER_REUSED)

rows = Rows(store, models, Model, what="model")
model = await rows.create({"name": "m", "is_public": True, "description": None})
await rows.update(model.id, {"is_public": False})
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import sqlalchemy as sa

from ..api import Conflict, NotFound, required_column

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..api import Refusal, Store

RowT = TypeVar("RowT")


def required(**kinds: Any) -> list[sa.Column[Any]]:
    """Columns of these names and types that are never null."""
    return [required_column(name, kind) for name, kind in kinds.items()]


def optional(**kinds: Any) -> list[sa.Column[Any]]:
    """Columns of these names and types."""
    return [sa.Column(name, kind) for name, kind in kinds.items()]


class Rows(Generic[RowT]):
    """The rows of `table`, which has an `id`, each as a `kind`: a dataclass or struct with fields for its columns.

    `what` is what messages call one. `make` makes a `kind` of a row where it is more than the row's values.
    `unique` names the column that no two rows have alike; None: there is none. Of a `shared` table every process
    of the gate learns when it changes, by `Store.changes`. All methods raise `StoreError`.
    """

    def __init__(
        self,
        store: Store,
        table: sa.Table,
        kind: Callable[..., RowT],
        *,
        what: str,
        make: Callable[[sa.Row[Any]], RowT] | None = None,
        unique: str | None = "name",
        shared: bool = False,
    ) -> None:
        self._store = store
        self.table = table
        self.columns = table.c[*_fields(kind)]
        self._make = make or (lambda row: kind(*row))
        self.what = what
        self._unique = unique
        self._shared = shared

    async def create(self, values: Mapping[str, Any]) -> RowT:
        """A new row, whose `created_at` and `updated_at` are now. Raises `Conflict` for a name that is taken."""
        now = self._store.clock()
        times = {name: now for name in ("created_at", "updated_at") if name in self.table.c}
        insert = self._store.insert(self.table).values({**values, **times}).on_conflict_do_nothing()
        async with self._writing() as db:
            await self._store.serialize(db, self.table.name)
            row = (await db.execute(insert.returning(*self.columns))).first()
            if row is None:
                raise self.taken()
            return self._make(row)

    async def update(self, row_id: int, values: Mapping[str, Any]) -> RowT:
        """Change what `values` has. Raises as `create` does, and `NotFound`."""
        table = self.table
        times = {"updated_at": self._store.clock()} if "updated_at" in table.c else {}
        if not (changed := {**values, **times}):
            return await self.by_id(row_id)
        update = table.update().where(table.c.id == row_id).values(changed)
        async with self._writing() as db:
            await self._store.serialize(db, table.name)
            if self._unique is not None and self._unique in values:
                alike = (table.c[self._unique] == values[self._unique]) & (table.c.id != row_id)
                if await db.scalar(sa.select(table.c.id).where(alike)):
                    raise self.taken()
            row = (await db.execute(update.returning(*self.columns))).first()
            if row is None:
                raise self.missing()
            return self._make(row)

    async def delete(self, row_id: int) -> None:
        """Delete a row. Raises `NotFound`."""
        async with self._writing() as db:
            if not (await db.execute(self.table.delete().where(self.table.c.id == row_id))).rowcount:
                raise self.missing()

    async def by_id(self, row_id: int) -> RowT:
        """The row with this id. Raises `NotFound`."""
        found = await self.all(self.table.c.id == row_id)
        if not found:
            raise self.missing()
        return found[0]

    async def all(self, *where: sa.ColumnElement[bool]) -> list[RowT]:
        """The rows for which `where` holds, oldest first."""
        query = sa.select(*self.columns).where(*where).order_by(self.table.c.id)
        async with self._store.connect() as db:
            return [self._make(row) for row in await db.execute(query)]

    def missing(self) -> Refusal:
        """What is raised for a row that is not there."""
        return NotFound(f"There is no such {self.what}.")

    def taken(self) -> Refusal:
        """What is raised for a name that another row has."""
        return Conflict(f"Another {self.what} has this {self._unique}.", param=self._unique)

    def _writing(self) -> AbstractAsyncContextManager[AsyncConnection]:
        return self._store.change() if self._shared else self._store.begin()


def _fields(kind: Any) -> tuple[str, ...]:
    return getattr(kind, "__struct_fields__", None) or tuple(kind.__dataclass_fields__)

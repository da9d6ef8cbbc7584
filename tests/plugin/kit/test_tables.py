"""The rows of a table of a plugin's, on both databases."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import sqlalchemy as sa
from msgspec import Struct
from stores import Clock, clock, migrated_file, migrated_postgres, sqlite_url, store, store_url

from llmgate.errors import Conflict, NotFound
from llmgate.plugin.api import NEVER_REUSED, id_column
from llmgate.plugin.kit.tables import Rows, optional, required
from llmgate.store import Store

__all__ = ["clock", "migrated_file", "migrated_postgres", "sqlite_url", "store", "store_url"]

metadata = sa.MetaData()
models = sa.Table(
    "test_models",
    metadata,
    id_column(),
    *required(name=sa.Text, size=sa.Integer),
    *optional(description=sa.Text),
    *required(created_at=sa.Double, updated_at=sa.Double),
    sa.UniqueConstraint("name"),
    **NEVER_REUSED,
)
plain = sa.Table("test_plain", metadata, id_column(), *required(size=sa.Integer))


@dataclass(frozen=True)
class Model:
    id: int
    name: str
    size: int
    description: str | None
    created_at: float
    updated_at: float


class Plain(Struct, frozen=True):
    id: int
    size: int


@pytest.fixture
async def rows(store: Store) -> AsyncIterator[Rows[Model]]:
    async with store.begin() as db:
        await db.run_sync(metadata.create_all)
    yield Rows(store, models, Model, what="model", shared=True)
    async with store.begin() as db:
        await db.run_sync(metadata.drop_all)


def test_columns_are_null_where_they_may_be() -> None:
    """In the order in which they are named."""
    assert [(each.name, each.nullable) for each in models.c] == [
        ("id", False),
        ("name", False),
        ("size", False),
        ("description", True),
        ("created_at", False),
        ("updated_at", False),
    ]


async def test_a_row_is_made_changed_and_deleted(rows: Rows[Model], clock: Clock) -> None:
    """Its times are those of the store."""
    begun = clock()
    made = await rows.create({"name": "m", "size": 1})
    assert made == Model(made.id, "m", 1, None, begun, begun)
    clock.pass_by(5)
    changed = await rows.update(made.id, {"size": 2, "description": "two"})
    assert changed == Model(made.id, "m", 2, "two", begun, begun + 5)
    assert await rows.by_id(made.id) == changed
    await rows.delete(made.id)
    assert await rows.all() == []


async def test_what_is_not_there_is_told_so(rows: Rows[Model]) -> None:
    """Whatever is to be done with it."""
    for attempt in (rows.by_id(7), rows.update(7, {"size": 1}), rows.delete(7)):
        with pytest.raises(NotFound, match="There is no such model"):
            await attempt


async def test_a_name_is_taken_once(rows: Rows[Model]) -> None:
    """By a new row, and by one that changes; its own name a row may keep."""
    one, two = await rows.create({"name": "one", "size": 1}), await rows.create({"name": "two", "size": 2})
    with pytest.raises(Conflict, match="Another model has this name") as refusal:
        await rows.create({"name": "one", "size": 3})
    assert refusal.value.param == "name"
    with pytest.raises(Conflict):
        await rows.update(two.id, {"name": "one"})
    assert (await rows.update(one.id, {"name": "one", "size": 9})).size == 9


async def test_of_those_that_want_one_name_at_once_one_gets_it(rows: Rows[Model]) -> None:
    """New ones and changes alike; the others are told, and nothing breaks."""
    present = [await rows.create({"name": f"m{number}", "size": number}) for number in range(4)]
    ends = await asyncio.gather(
        *(rows.update(each.id, {"name": "wanted"}) for each in present),
        *(rows.create({"name": "wanted", "size": number}) for number in range(4)),
        return_exceptions=True,
    )
    assert sum(isinstance(end, Conflict) for end in ends) == 7
    assert [each.name for each in await rows.all()].count("wanted") == 1


async def test_rows_are_found_by_what_holds_for_them_oldest_first(rows: Rows[Model]) -> None:
    """All of several conditions."""
    for number in range(4):
        await rows.create({"name": f"m{number}", "size": number})
    found = await rows.all(models.c.size > 0, models.c.size < 3)
    assert [each.name for each in found] == ["m1", "m2"]


async def test_a_shared_table_says_when_it_changes(rows: Rows[Model], store: Store) -> None:
    """And one that is not shared does not: the hot path forgets nothing for it."""
    before = store.changes.current()
    await rows.create({"name": "m", "size": 1})
    after = store.changes.current()
    assert after != before
    alone = Rows(store, plain, Plain, what="thing", unique=None)
    await alone.create({"size": 1})
    assert store.changes.current() == after


async def test_rows_may_be_structs_without_names_or_times(rows: Rows[Model], store: Store) -> None:
    """A change of nothing is none. `make` makes of a row what is wanted."""
    alone = Rows(
        store, plain, Plain, what="thing", unique=None, make=lambda row: Plain(row.id, row.size * 10)
    )
    made = await alone.create({"size": 1})
    assert made.size == 10
    assert await alone.update(made.id, {}) == made
    assert (await alone.update(made.id, {"size": 2})).size == 20

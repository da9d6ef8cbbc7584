"""The operations on rows, asked over a real store."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec import UNSET, Struct, UnsetType
from stores import Clock, clock, migrated_file, sqlite_url

from llmgate.errors import BadRequest, NotFound
from llmgate.plugin.api import AnyCall, id_column
from llmgate.plugin.kit.resources import Resource
from llmgate.plugin.kit.tables import Rows, required
from llmgate.store import Store

__all__ = ["clock", "migrated_file", "sqlite_url"]

metadata = sa.MetaData()
things = sa.Table("test_things", metadata, id_column(), *required(name=sa.Text, size=sa.Integer))


@dataclass(frozen=True)
class Thing:
    id: int
    name: str
    size: int


class NewThing(Struct, frozen=True):
    name: str
    size: int = 1


class Change(Struct, frozen=True):
    name: str | UnsetType = UNSET
    size: int | UnsetType = UNSET


@dataclass
class Asked:
    """What of a call a resource looks at."""

    body: Any = None
    path: Any = None


def ask(body: Any = None, thing: object = None) -> AnyCall:
    call: Any = Asked(body, {"id": str(thing)})
    return call


@pytest.fixture
async def resource(sqlite_url: str, clock: Clock) -> AsyncIterator[Resource[Thing]]:
    async with Store.open(sqlite_url, clock=clock) as store:
        async with store.begin() as db:
            await db.run_sync(metadata.create_all)
        yield Resource(
            Rows(store, things, Thing, what="thing"), shown=lambda row: (row.id, row.name, row.size)
        )


async def test_one_is_made_shown_changed_and_deleted(resource: Resource[Thing]) -> None:
    """Each answer is what `shown` makes of the row."""
    assert await resource.create(ask(NewThing("a"))) == (1, "a", 1)
    assert await resource.create(ask(NewThing("b", 2))) == (2, "b", 2)
    assert await resource.all(ask()) == [(1, "a", 1), (2, "b", 2)]
    assert await resource.change(ask(Change(size=5), 1)) == (1, "a", 5)
    assert await resource.get(ask(thing=1)) == (1, "a", 5)
    await resource.delete(ask(thing=1))
    with pytest.raises(NotFound, match="There is no such thing"):
        await resource.get(ask(thing=1))


async def test_names_are_held_to_the_rule_for_names(resource: Resource[Thing]) -> None:
    """New ones and changed ones."""
    made = await resource.create(ask(NewThing("a")))
    assert made == (1, "a", 1)
    for attempt in (resource.create(ask(NewThing("\n"))), resource.change(ask(Change(name=" a"), 1))):
        with pytest.raises(BadRequest):
            await attempt


async def test_an_id_that_no_row_can_have_is_none(resource: Resource[Thing]) -> None:
    """As little as one that no row has."""
    for number in ("x", "-1", "9" * 30, "7"):
        with pytest.raises(NotFound, match="There is no such thing"):
            await resource.get(ask(thing=number))

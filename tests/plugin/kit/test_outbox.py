"""A plugin's outbox: tables of its own, records of its own surface. How events go out, Leaky Tokens' tests show."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from stores import clock, migrated_file, migrated_postgres, sqlite_url, store, store_url

from llmgate.plugin.kit.outbox import Event, Outbox, add_event, outbox_tables
from llmgate.store import Store
from llmgate.store.schema import usage

__all__ = ["clock", "migrated_file", "migrated_postgres", "sqlite_url", "store", "store_url"]

TABLES = outbox_tables("test_kit", sa.MetaData())


class Collector(list[Event]):
    async def deliver(self, event: Event) -> None:
        self.append(event)


def tell(record: sa.Row[Any]) -> tuple[str, dict[str, Any]] | None:
    return None if record.status != 200 else ("used", {"of": record.request_id})


@pytest.fixture
async def tables(store: Store) -> AsyncIterator[None]:
    async with store.begin() as db:
        await db.run_sync(TABLES.events.metadata.create_all)
    yield
    async with store.begin() as db:
        await db.run_sync(TABLES.events.metadata.drop_all)


async def record(store: Store, request_id: str, surface: str = "mine", status: int = 200) -> None:
    names = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "cost")
    row = {
        "request_id": request_id,
        "at": 1.0,
        "route": "r",
        "surface": surface,
        "upstream": "u",
        "model": "m",
    }
    rest = {
        "endpoint": "chat",
        "certainty": "exact",
        "outcome": "finished",
        "duration": 0.1,
        "status": status,
    }
    async with store.begin() as db:
        await db.execute(usage.insert().values({**row, **rest, **dict.fromkeys(names, 0)}))


async def test_records_are_told_once_each_whenever_they_are_written(store: Store, tables: None) -> None:
    """One that a journal brings hours later as well; none of other surfaces, none from before anybody listened."""
    await record(store, "early")
    collector = Collector()
    outbox = Outbox(store, TABLES, [collector], surface="mine", tell=tell)
    await outbox.open()
    await record(store, "a")
    await record(store, "theirs", surface="other")
    await record(store, "failed", status=502)
    await outbox.run()
    await record(store, "late")
    await outbox.run()
    await outbox.run()
    assert [msgspec.json.decode(event.body)["data"]["of"] for event in collector] == ["a", "late"]


async def test_two_processes_do_not_tell_the_same_record(store: Store, tables: None) -> None:
    collectors = Collector(), Collector()
    boxes = [Outbox(store, TABLES, [each], surface="mine", tell=tell) for each in collectors]
    for box in boxes:
        await box.open()
    for number in range(250):
        await record(store, f"request-{number}")
    for box in boxes:
        await box.run()
    assert len(collectors[0]) + len(collectors[1]) == 250


async def test_an_outbox_without_records_tells_what_is_added(store: Store, tables: None) -> None:
    collector = Collector()
    outbox = Outbox(store, TABLES, [collector])
    await outbox.open()
    await record(store, "a", surface="")
    async with store.begin() as db:
        await add_event(db, TABLES, "s", "made", {"x": 1}, at=store.clock())
    await outbox.run()
    assert [(event.stream, event.type) for event in collector] == [("s", "made")]

"""The open store: transactions, and changes that are seen."""

import asyncio
import os
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from stores import Clock, files_in

from llmgate.errors import BadRequest, StoreError
from llmgate.store import Store
from llmgate.store.schema import organizations


async def add(conn: AsyncConnection, name: str) -> None:
    row = {"uuid": name, "name": name, "is_active": True, "created_at": 0.0}
    await conn.execute(organizations.insert().values(row))


async def names(store: Store) -> list[str]:
    async with store.connect() as conn:
        query = sa.select(organizations.c.name).order_by(organizations.c.id)
        return list((await conn.scalars(query)).all())


def damage(path: Path) -> None:
    """Overwrite all but the first page, by which SQLite recognises its files."""
    pages = path.read_bytes()
    path.write_bytes(pages[:4096] + os.urandom(len(pages) - 4096))


async def test_what_a_write_transaction_did_is_there_after_it(store: Store) -> None:
    async with store.begin() as conn:
        await add(conn, "one")
        assert await names(store) == [], "nobody else sees it before the commit"
    assert await names(store) == ["one"]


async def test_an_exception_undoes_the_whole_transaction(store: Store) -> None:
    with pytest.raises(RuntimeError, match="on purpose"):
        async with store.begin() as conn:
            await add(conn, "one")
            raise RuntimeError("on purpose")
    assert await names(store) == []


async def test_a_cancelled_transaction_is_undone_and_the_next_one_works(store: Store) -> None:
    inside = asyncio.Event()

    async def hang() -> None:
        async with store.begin() as conn:
            await add(conn, "one")
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with store.begin() as conn:
        await add(conn, "two")
    assert await names(store) == ["two"]


async def test_a_hundred_writers_at_once_all_get_their_turn(store: Store) -> None:
    async def increment() -> None:
        async with store.begin() as conn:
            row = (await conn.execute(sa.select(organizations).with_for_update())).one()
            await conn.execute(organizations.update().values(created_at=row.created_at + 1))

    async with store.begin() as conn:
        await add(conn, "one")
    await asyncio.gather(*(increment() for _ in range(100)))
    async with store.connect() as conn:
        assert await conn.scalar(sa.select(organizations.c.created_at)) == 100


async def test_only_a_committed_change_moves_the_stamp(store: Store) -> None:
    before = store.changes.current()
    async with store.begin() as conn:
        await add(conn, "one")
    with pytest.raises(RuntimeError):
        async with store.change() as conn:
            raise RuntimeError
    assert store.changes.current() == before
    async with store.change() as conn:
        await add(conn, "two")
        assert store.changes.current() == before, "the stamp moves after the commit, never before"
    assert store.changes.current() != before


async def test_a_row_that_contradicts_another_is_a_store_error(store: Store) -> None:
    with pytest.raises(StoreError, match="refused a row"):
        async with store.begin() as conn:
            await add(conn, "one")
            await add(conn, "one")
    assert await names(store) == []


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 2**200])
async def test_a_number_that_no_column_holds_is_the_callers_mistake(store: Store, value: int) -> None:
    with pytest.raises(BadRequest):
        async with store.connect() as conn:
            await conn.execute(sa.select(organizations).where(organizations.c.id == value))
    assert await names(store) == []


async def test_half_of_a_character_is_the_callers_mistake(store: Store) -> None:
    with pytest.raises(BadRequest):
        async with store.connect() as conn:
            await conn.execute(sa.select(organizations).where(organizations.c.name == "\ud800"))
    assert await names(store) == []


async def test_another_process_that_holds_the_lock_is_waited_for_and_then_named(sqlite_url: str) -> None:
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        async with Store.open(sqlite_url, busy_timeout=0) as store:
            with pytest.raises(StoreError, match=r"locked.*busy_timeout"):
                async with store.begin():
                    pass
            assert await names(store) == [], "readers do not care"
            other.execute("ROLLBACK")
            async with store.begin() as conn:
                await add(conn, "one")
    other.close()


async def test_a_database_that_was_not_made_yet_is_not_made_by_opening_it(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"does not exist: run `llmgate migrate`"):
        async with Store.open(f"sqlite:///{tmp_path / 'gate.db'}"):
            pass
    assert files_in(tmp_path) == []


async def test_the_clock_of_the_store_is_the_one_it_was_given(store: Store, clock: Clock) -> None:
    clock.pass_by(5)
    assert store.clock() == clock.now


async def test_a_change_within_a_callers_transaction_is_a_part_of_it(store: Store) -> None:
    """It is announced once, by the outer one, and undone with it."""
    before = store.changes.current()
    with pytest.raises(RuntimeError):
        async with store.change() as db:
            async with store.change(db) as same:
                assert same is db
            assert store.changes.current() == before
            raise RuntimeError
    async with store.change() as db, store.change(db):
        assert store.changes.current() == before
    assert store.changes.current() != before


async def test_a_change_and_whoever_asks_wait_until_what_has_ended_is_written(store: Store) -> None:
    """Before a transaction begins, since on SQLite nobody else writes while it lasts."""
    written: list[str] = []

    async def flush() -> None:
        async with store.begin() as db:
            await add(db, f"flush {len(written)}")
        written.append("flush")

    await store.flush()
    with store.flushed_by(flush):
        await store.flush()
        async with store.change() as db:
            assert len(written) == 2
            await add(db, "change")
            async with store.change(db):
                assert len(written) == 2
    await store.flush()
    assert await names(store) == ["flush 0", "flush 1", "change"]

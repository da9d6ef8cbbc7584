"""What a store uses of SQLAlchemy on asyncio, on both databases."""

import asyncio

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from llmgate.store.async_core import AsyncConnection, AsyncEngine, AsyncTransaction, create_async_engine
from llmgate.store.engine import parse
from llmgate.store.schema import organizations

ROW = {"uuid": "u", "name": "a", "is_active": True, "created_at": 0.0}
NAMES = sa.select(organizations.c.name).order_by(organizations.c.id)


@pytest.fixture
async def engine(store_url: str):
    engine = create_async_engine(parse(store_url))
    yield engine
    await engine.dispose()


async def names(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as conn:
        return list(await conn.scalars(NAMES))


async def test_a_connection_executes_and_reads(engine: AsyncEngine) -> None:
    async with engine.connect() as conn:
        assert conn.dialect is engine.dialect
        async with conn.begin():
            assert conn.in_transaction()
            assert await conn.scalar(NAMES) is None
            await conn.execute(organizations.insert(), [ROW, {**ROW, "uuid": "v", "name": "b"}])
        assert not conn.in_transaction()
        assert [row.name for row in await conn.execute(NAMES)] == ["a", "b"]
        assert await conn.scalar(NAMES) == "a"
        assert (await conn.exec_driver_sql("SELECT 1")).scalar() == 1
        assert await conn.run_sync(lambda sync, name: sa.inspect(sync).has_table(name), "usage")


async def test_a_transaction_is_undone_by_an_exception(engine: AsyncEngine) -> None:
    async with engine.connect() as conn:
        with pytest.raises(IntegrityError):
            async with conn.begin():
                await conn.execute(organizations.insert().values(ROW))
                await conn.execute(organizations.insert().values(ROW))
    assert await names(engine) == []


async def test_options_are_those_of_the_same_pool(engine: AsyncEngine) -> None:
    other = engine.execution_options(isolation_level="AUTOCOMMIT")
    assert other.sync_engine.pool is engine.sync_engine.pool
    assert other.url == engine.url
    async with other.connect() as conn:
        await conn.execute(organizations.insert().values(ROW))
    assert await names(engine) == ["a"]


async def test_a_connection_goes_back_to_its_pool_whoever_is_cancelled(sqlite_url: str) -> None:
    """At any await: while it is got, used or given back."""
    engine = create_async_engine(parse(sqlite_url))
    pool = engine.sync_engine.pool

    async def use() -> None:
        async with engine.connect() as conn, conn.begin():
            await conn.scalar(NAMES)

    for turns in range(60):
        task = asyncio.create_task(use())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert pool.checkedout() == 0  # type: ignore[attr-defined]
    assert await names(engine) == []
    await engine.dispose()


def test_it_has_the_names_of_what_it_stands_for() -> None:
    """So that annotations may say SQLAlchemy's types."""
    from sqlalchemy.ext import asyncio as full

    for ours in (AsyncConnection, AsyncEngine, AsyncTransaction):
        theirs = getattr(full, ours.__name__)
        assert {name for name in vars(ours) if not name.startswith("_")} - {"run"} <= set(dir(theirs))

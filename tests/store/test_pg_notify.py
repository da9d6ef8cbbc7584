"""The stamp of changes on PostgreSQL: heard at once by every process, and not trusted where nothing is heard."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import sqlalchemy as sa
from servers import until
from sqlalchemy.engine import make_url
from stores import Clock

from llmgate.store import Store
from llmgate.store.pg_notify import DISCONNECTED_FOR_S, TRUSTED_FOR_S, NotifiedChangeStamp, listening

pytest.importorskip("asyncpg")

END_OTHERS = sa.text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@asynccontextmanager
async def heard(url: str, timer: Clock) -> AsyncIterator[NotifiedChangeStamp]:
    async with listening(make_url(url), timer=timer) as changes:
        yield changes


async def stamp_moves(changes: NotifiedChangeStamp, since: int) -> None:
    await until(lambda: changes.current() != since)


async def test_a_change_that_is_committed_elsewhere_moves_the_stamp(
    migrated_postgres: str, clock: Clock
) -> None:
    async with Store.open(migrated_postgres) as elsewhere, heard(migrated_postgres, clock) as changes:
        before = changes.current()
        async with elsewhere.change():
            pass
        await stamp_moves(changes, before)


async def test_a_change_that_is_rolled_back_moves_nothing(migrated_postgres: str, clock: Clock) -> None:
    async with Store.open(migrated_postgres) as elsewhere, heard(migrated_postgres, clock) as changes:
        before = changes.current()
        with pytest.raises(RuntimeError):
            async with elsewhere.change():
                raise RuntimeError
        async with elsewhere.begin() as conn:
            await conn.execute(sa.text("SELECT pg_notify('llmgate_echo', 'a mark that comes after')"))
        assert changes.current() == before


async def test_ones_own_change_moves_the_stamp_once(migrated_postgres: str) -> None:
    """It would be forgotten twice otherwise: at once, and again when the announcement comes back."""
    async with Store.open(migrated_postgres) as store, Store.open(migrated_postgres) as other:
        before, elsewhere = store.changes.current(), other.changes.current()
        async with store.change():
            pass
        assert store.changes.current() == before + 1
        await until(lambda: other.changes.current() != elsewhere)
        assert store.changes.current() == before + 1


async def test_a_stamp_stands_still_while_echoes_come(migrated_postgres: str, clock: Clock) -> None:
    async with heard(migrated_postgres, clock) as changes:
        before = changes.current()
        clock.pass_by(TRUSTED_FOR_S - 0.1)
        assert changes.current() == before


async def test_where_no_echo_comes_the_stamp_moves_by_itself_every_second(
    migrated_postgres: str, clock: Clock
) -> None:
    async with heard(migrated_postgres, clock) as changes:
        trusted = changes.current()
        clock.pass_by(TRUSTED_FOR_S)
        deaf = changes.current()
        assert deaf != trusted
        assert changes.current() == deaf
        clock.pass_by(DISCONNECTED_FOR_S)
        assert changes.current() not in (deaf, trusted)


async def test_a_lost_connection_is_opened_again_and_what_was_missed_counts_as_a_change(
    migrated_postgres: str, clock: Clock
) -> None:
    async with heard(migrated_postgres, clock) as changes, Store.open(migrated_postgres) as other:
        before = changes.current()
        async with other.begin() as conn:
            await conn.execute(END_OTHERS)
        await until(lambda: not changes.connected.is_set())
        await asyncio.wait_for(changes.connected.wait(), 5)
        assert changes.current() > before


async def test_a_server_that_is_away_is_waited_for_but_not_for_ever(clock: Clock) -> None:
    """The store's own first query says what is wrong; nothing is trusted meanwhile."""
    changes = NotifiedChangeStamp("postgresql://nobody@127.0.0.1:1/gate", timer=clock)
    task = asyncio.create_task(changes.listen())
    assert changes.current() < 0
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

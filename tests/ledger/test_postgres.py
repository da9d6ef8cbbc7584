"""What is PostgreSQL's own in writing groups; test_committers.py has what holds on any database."""

import pytest
from sqlalchemy import URL, make_url, text

from llmgate.errors import StoreError
from llmgate.ledger.model import Entry
from llmgate.ledger.postgres import PostgresCommitter
from llmgate.store import Store

from .ledgers import record, records

pytestmark = pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)


async def test_a_connection_that_was_lost_is_opened_by_the_next_group(store: Store) -> None:
    """And a record that made it before the loss is not written twice."""
    committer = PostgresCommitter(store.url)
    await committer.commit([Entry(record("a"), ())])
    ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'INSERT INTO usage%'"
    async with store.connect() as db:
        await db.execute(text(ends))
    with pytest.raises(StoreError):
        await committer.commit([Entry(record("b"), ())])
    await committer.commit([Entry(record("a"), ()), Entry(record("b"), ())])
    await committer.aclose()
    assert (await records(store)).keys() == {"a", "b"}


async def test_a_server_that_is_not_there_is_named_without_its_password(store_url: str) -> None:
    url: URL = make_url("postgresql+asyncpg://gate:geheim@127.0.0.1:1/gate")
    committer = PostgresCommitter(url, timeout=1)
    with pytest.raises(StoreError) as raised:
        await committer.commit([Entry(record("a"), ())])
    assert "127.0.0.1:1" in str(raised.value)
    assert "geheim" not in str(raised.value)

"""Transactions on the store, and what its users see when the database fails them."""

import os
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from llmgate.errors import StoreError
from llmgate.store import Store, migrate
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


async def test_reading_connections_of_sqlite_cannot_write(sqlite_url: str) -> None:
    async with Store.open(sqlite_url) as store:
        with pytest.raises(StoreError, match="cannot be written"):
            async with store.connect() as conn:
                await add(conn, "one")


async def test_a_full_disk_is_named_and_nothing_is_half_written(sqlite_url: str) -> None:
    async with Store.open(sqlite_url) as store:
        async with store.begin() as conn:
            await conn.execute(sa.text("PRAGMA max_page_count = 1"))  # as full as SQLite can be made
        with pytest.raises(StoreError, match="full disk: free some space"):
            async with store.begin() as conn:
                await add(conn, "x" * 100_000)
        assert await names(store) == []


async def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "gate.db").write_text("this is not a database, whatever its name says\n" * 100)
    url = f"sqlite:///{tmp_path / 'gate.db'}"
    with pytest.raises(StoreError, match="not an SQLite file"):
        async with Store.open(url):
            pass


async def test_a_damaged_file_is_named_with_the_remedy(sqlite_url: str) -> None:
    damage(Path(sqlite_url.removeprefix("sqlite:///")))
    with pytest.raises(StoreError, match="damaged: restore it from a backup"):
        async with Store.open(sqlite_url) as store:
            await names(store)


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nowhere/gate\.db cannot be created"):
        await migrate(f"sqlite:///{tmp_path / 'nowhere' / 'gate.db'}")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("gate.db", "not the URL of a database"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///file:gate.db?mode=memory&uri=true", "names no file"),
        ("mysql://root:hunter2@localhost/gate", "of no kind that llmgate knows"),
        ("", "not the URL of a database"),
    ],
)
async def test_a_url_that_cannot_be_used_says_what_to_write_and_no_password(url: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as refused:
        await migrate(url)
    assert "sqlite:///gate.db" in str(refused.value)
    assert "hunter2" not in str(refused.value)


async def test_a_server_that_does_not_answer_is_named_without_the_password() -> None:
    pytest.importorskip("asyncpg")
    with pytest.raises(StoreError, match="cannot be reached") as refused:
        await migrate("postgresql://root:hunter2@127.0.0.1:1/gate")
    assert "127.0.0.1:1/gate" in str(refused.value)
    assert "hunter2" not in str(refused.value)


async def test_a_database_that_the_server_does_not_have_is_named(postgres_url: str) -> None:
    with pytest.raises(StoreError, match=r"does not exist: create it"):
        await migrate(postgres_url + "_nope")


@pytest.mark.parametrize("setting", ["normal", "full"])
async def test_each_connection_of_sqlite_is_set_up(sqlite_url: str, setting: str) -> None:
    async with Store.open(sqlite_url, synchronous=setting) as store:  # type: ignore[arg-type]
        async with store.begin() as conn:
            pragmas = ["journal_mode", "synchronous", "foreign_keys", "busy_timeout"]
            found = [await conn.scalar(sa.text(f"PRAGMA {pragma}")) for pragma in pragmas]
        assert found == ["wal", {"normal": 1, "full": 2}[setting], 1, 5000]

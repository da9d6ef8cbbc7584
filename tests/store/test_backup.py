"""A copy of a living store can be put in its place."""

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest
import sqlalchemy as sa
from stores import files_in

from llmgate.errors import StoreError
from llmgate.store import Store, migrate
from llmgate.store.backup import backup
from llmgate.store.schema import organizations

from .test_engine import damage


async def add(store: Store, name: str) -> None:
    async with store.begin() as conn:
        values = {"uuid": name, "name": name, "is_active": True, "created_at": 0.0}
        await conn.execute(sa.insert(organizations).values(**values))


async def count(url: str) -> int:
    async with Store.open(url) as store, store.connect() as conn:
        return int(await conn.scalar(sa.select(sa.func.count()).select_from(organizations)) or 0)


async def test_a_copy_made_while_others_write_is_whole_and_opens(sqlite_url: str, tmp_path: Path) -> None:
    target = tmp_path / "backup" / "gate.db"
    target.parent.mkdir()
    async with Store.open(sqlite_url) as store:
        for number in range(20):
            await add(store, f"before {number}")

        async def go_on() -> None:
            for number in range(20):
                await add(store, f"during {number}")

        await asyncio.gather(backup(sqlite_url, target), go_on())
        await add(store, "after")
    assert files_in(target.parent) == ["gate.db"]
    assert target.stat().st_mode & 0o777 == 0o600
    assert 20 <= await count(f"sqlite:///{target}") <= 40
    assert await count(sqlite_url) == 41


async def test_nothing_is_overwritten(sqlite_url: str, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    with pytest.raises(StoreError, match="precious cannot be made: File exists"):
        await backup(sqlite_url, tmp_path / "precious")
    assert (tmp_path / "precious").read_text() == "precious"


async def test_a_damaged_store_gives_no_copy(sqlite_url: str, tmp_path: Path) -> None:
    damage(tmp_path / "gate.db")
    with pytest.raises(StoreError, match="backup"):
        await backup(sqlite_url, tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


async def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no database"):
        await backup(f"sqlite:///{tmp_path / 'gate.db'}", tmp_path / "copy.db")
    assert files_in(tmp_path) == []


async def test_postgresql_has_a_tool_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("asyncpg")
    with pytest.raises(StoreError, match="pg_dump --format=custom --file="):
        await backup("postgresql://gate:geheim@db/gate", tmp_path / "copy")


@pytest.mark.skipif(shutil.which("pg_restore") is None, reason="PostgreSQL's own tools are not installed")
def test_postgresql_restored_as_the_guide_says_is_as_it_was(postgres_url: str, tmp_path: Path) -> None:
    dump = f"--file={tmp_path / 'gate.dump'}"
    asyncio.run(_grow(postgres_url, "before the dump"))
    dumped = subprocess.run(
        ["pg_dump", "--format=custom", dump, postgres_url], capture_output=True, text=True, check=False
    )
    if "version mismatch" in dumped.stderr:
        pytest.skip(dumped.stderr)
    assert dumped.returncode == 0, dumped.stderr
    asyncio.run(_grow(postgres_url, "after the dump"))
    restore = ["pg_restore", "--clean", "--if-exists", f"--dbname={postgres_url}", tmp_path / "gate.dump"]
    subprocess.run(restore, check=True)
    assert asyncio.run(_names(postgres_url)) == ["before the dump"]
    asyncio.run(_grow(postgres_url, "after the restore"))  # its sequences went back too


async def _grow(url: str, name: str) -> None:
    await migrate(url)
    async with Store.open(url) as store:
        await add(store, name)


async def _names(url: str) -> list[str]:
    async with Store.open(url) as store, store.connect() as conn:
        return list(await conn.scalars(sa.select(organizations.c.name).order_by(organizations.c.id)))

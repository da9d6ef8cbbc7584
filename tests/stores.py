"""Stores to test on: the same tests run on SQLite and, where a server answers, on PostgreSQL.

`LLMGATE_TEST_POSTGRES` is the URL of a database on a server where a database for the run may be created;
it is dropped at the end. Without a server these tests are skipped, and fail where CI is set.
"""

import asyncio
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from llmgate.store import Store, migrate
from llmgate.store.schema import metadata

POSTGRES = os.environ.get("LLMGATE_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/test")


class Clock:
    """Time that passes when told to."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "gate.db"
    asyncio.run(migrate(f"sqlite:///{path}"))
    return path


@contextmanager
def postgres_database() -> Iterator[str]:
    """The URL of a new, empty database on the PostgreSQL server."""
    asyncpg = pytest.importorskip("asyncpg", reason="asyncpg is not installed (the extra `cluster`)")
    name = f"llmgate_test_{os.getpid()}_{uuid.uuid4().hex[:8]}"
    try:
        asyncio.run(_command(asyncpg, f'CREATE DATABASE "{name}"'))
        # What a power cut would lose is not tested here, and waiting for the disk takes most of the time.
        asyncio.run(_command(asyncpg, f'ALTER DATABASE "{name}" SET synchronous_commit = off'))
    except OSError as error:
        reason = f"no PostgreSQL answers at {POSTGRES}: {error}"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    yield POSTGRES.rpartition("/")[0] + f"/{name}"
    asyncio.run(_command(asyncpg, f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """An empty database on the PostgreSQL server."""
    with postgres_database() as url:
        yield url


@pytest.fixture(scope="session")
def migrated_postgres() -> Iterator[str]:
    with postgres_database() as url:
        asyncio.run(migrate(url))
        yield url


@pytest.fixture
def sqlite_url(migrated_file: Path, tmp_path: Path) -> str:
    """The URL of a migrated SQLite store without rows."""
    shutil.copy(migrated_file, tmp_path / "gate.db")
    return f"sqlite:///{tmp_path / 'gate.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """The URL of a migrated store without rows, on one database and then on the other."""
    if request.param == "sqlite":
        sqlite: str = request.getfixturevalue("sqlite_url")
        return sqlite
    url: str = request.getfixturevalue("migrated_postgres")
    deletes = ";".join(str(table.delete()) for table in reversed(metadata.sorted_tables))
    asyncio.run(_command(pytest.importorskip("asyncpg"), deletes, url))
    return url


@pytest.fixture
async def store(store_url: str, clock: Clock) -> AsyncIterator[Store]:
    async with Store.open(store_url, clock=clock) as opened:
        yield opened


@asynccontextmanager
async def counting(store: Store) -> AsyncIterator[list[str]]:
    """The statements that `store` runs meanwhile."""
    from sqlalchemy import event

    statements: list[str] = []

    def note(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    # one for each pool: on PostgreSQL the reader is a view of the writer and shares its events
    engines = {
        engine.sync_engine.pool: engine.sync_engine for engine in (store._reader, store._writer)
    }.values()
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    yield statements
    for engine in engines:
        event.remove(engine, "before_cursor_execute", note)


async def _command(asyncpg: Any, sql: str, url: str = POSTGRES) -> None:
    conn = await asyncpg.connect(url)
    try:
        await conn.execute(sql)
    finally:
        await conn.close()

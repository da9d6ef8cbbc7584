"""The plugin's tables, on every database: what the revisions make is what the code expects, and counts right."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy.engine import Connection
from stores import Clock, clock, postgres_url

from llmgate.errors import Conflict
from llmgate.plugin.kit.uploads import StoredFile
from llmgate.store import CORE, Store, migrate
from llmgate_deployments.models import Registry
from llmgate_deployments.tables import MIGRATIONS, metadata

__all__ = ["clock", "postgres_url"]

MODEL = {"name": "m", "is_public": True}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    found: str = request.getfixturevalue("postgres_url")
    return found


@pytest.fixture
async def store(url: str, clock: Clock) -> AsyncIterator[Store]:
    await migrate(url, sets=[CORE, MIGRATIONS])
    async with Store.open(url, clock=clock) as opened:
        yield opened


async def test_the_revisions_make_the_tables_that_the_code_expects(store: Store) -> None:
    """Columns, types, keys and constraints."""

    def differences(conn: Connection) -> list[object]:
        mine = {"include_object": lambda it, name, kind, *_: kind != "table" or name in metadata.tables}
        return list(compare_metadata(MigrationContext.configure(conn, opts=mine), metadata))

    async with store.connect() as db:
        assert await db.run_sync(differences) == []


async def test_versions_at_once_are_counted_without_gap(store: Store) -> None:
    """The same content is the same version, also at once."""
    registry = Registry(store)
    model = await registry.create(MODEL)
    made = await asyncio.gather(
        *(registry.add_version(model.id, StoredFile(1, f"sum{number // 2}")) for number in range(12))
    )
    assert sorted({version.version for version, _ in made}) == [1, 2, 3, 4, 5, 6]
    assert sum(is_new for _, is_new in made) == 6


async def test_of_changes_to_one_name_at_once_one_is_made(store: Store) -> None:
    """The others learn that the name is taken."""
    registry = Registry(store)
    models = [await registry.create({**MODEL, "name": f"m{number}"}) for number in range(5)]
    ends = await asyncio.gather(
        *(registry.update(model.id, {"name": "wanted"}) for model in models), return_exceptions=True
    )
    assert sum(isinstance(end, Conflict) for end in ends) == 4

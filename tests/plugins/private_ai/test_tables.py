"""The plugin's tables: what the revisions make is what the code expects, on both databases."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy.engine import Connection
from stores import Clock, clock, postgres_url

from llmgate.store import CORE, Store, migrate
from llmgate_private_ai.tables import MIGRATIONS, metadata

__all__ = ["clock", "postgres_url"]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    found: str = request.getfixturevalue("postgres_url")
    return found


async def test_the_revisions_make_the_tables_that_the_code_expects(url: str, clock: Clock) -> None:
    """Columns, types, keys and constraints."""

    def differences(conn: Connection) -> list[object]:
        mine = {"include_object": lambda it, name, kind, *_: kind != "table" or name in metadata.tables}
        return list(compare_metadata(MigrationContext.configure(conn, opts=mine), metadata))

    await migrate(url, sets=[CORE, MIGRATIONS])
    async with Store.open(url, clock=clock) as store, store.connect() as db:
        assert await db.run_sync(differences) == []


def test_every_secret_column_is_sealed() -> None:
    """What could open something is stored sealed or as a hash."""
    words = ("token", "password", "secret", "key_sealed")
    columns = [column.name for table in metadata.sorted_tables for column in table.columns]
    plain = [name for name in columns if any(word in name for word in words)]
    assert all(name.endswith(("_sealed", "_hash")) for name in plain), plain

"""The plugin's tables: what the revisions make is what the code expects, on both databases."""

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy.engine import Connection

from llmgate.store import Store
from llmgate_leaky_tokens.tables import metadata


async def test_the_revisions_make_the_tables_that_the_code_expects(store: Store) -> None:
    """Columns, types, keys, indexes and constraints."""

    def differences(conn: Connection) -> list[object]:
        mine = {"include_object": lambda it, name, kind, *_: kind != "table" or name in metadata.tables}
        return list(compare_metadata(MigrationContext.configure(conn, opts=mine), metadata))

    async with store.connect() as db:
        assert await db.run_sync(differences) == []

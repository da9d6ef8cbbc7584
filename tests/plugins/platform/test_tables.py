"""The plugin's tables, on every database: what the revisions make is what the code expects."""

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy.engine import Connection

from llmgate.store import Store
from llmgate_platform.tables import metadata


async def test_the_revisions_make_the_tables_that_the_code_expects(each_store: Store) -> None:
    """Columns, types, keys and constraints."""

    def differences(conn: Connection) -> list[object]:
        mine = {"include_object": lambda it, name, kind, *_: kind != "table" or name in metadata.tables}
        return list(compare_metadata(MigrationContext.configure(conn, opts=mine), metadata))

    async with each_store.connect() as db:
        assert await db.run_sync(differences) == []

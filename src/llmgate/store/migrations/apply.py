"""Alembic, used from Python: no ini file and no env.py, on the connection and transaction it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from .revisions import Migrations


def upgrade(conn: Connection, migrations: Migrations) -> None:
    """Bring the database to the newest revision of `migrations`, inside the transaction that is open."""
    script = ScriptDirectory(migrations.folder, version_locations=[migrations.folder])

    def steps(current: Any, _context: MigrationContext) -> list[Any]:
        return script._upgrade_revs("head", current)  # the way shown in Alembic's own documentation

    context = MigrationContext.configure(
        connection=conn,
        opts={"fn": steps, "version_table": migrations.version_table, "transactional_ddl": True},
    )
    with Operations.context(context):
        context.run_migrations()

"""Revisions on the connection and in the transaction that they are given."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from llmgate.store import Migrations
from llmgate.store.migrations.apply import upgrade

REVISION = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "{number:04}", {before!r}
def upgrade():
    op.create_table("t{number}", sa.Column("a", sa.Integer))
"""


@pytest.fixture
def migrations(tmp_path: Path) -> Migrations:
    for number in (1, 2):
        before = f"{number - 1:04}" if number > 1 else None
        (tmp_path / f"{number:04}_t.py").write_text(REVISION.format(number=number, before=before))
    return Migrations("trees", tmp_path)


@pytest.fixture
def engine() -> sa.Engine:
    return sa.create_engine("sqlite://", poolclass=sa.StaticPool)


def names(conn: sa.Connection) -> set[str]:
    return set(sa.inspect(conn).get_table_names())


def test_what_is_missing_is_applied_in_order_and_noted(engine: sa.Engine, migrations: Migrations) -> None:
    with engine.begin() as conn:
        upgrade(conn, migrations)
        assert {"t1", "t2", migrations.version_table} <= names(conn)
        assert conn.scalar(sa.text(f"SELECT version_num FROM {migrations.version_table}")) == "0002"  # noqa: S608


def test_a_second_time_nothing_is_done(engine: sa.Engine, migrations: Migrations) -> None:
    with engine.begin() as conn:
        upgrade(conn, migrations)
    with engine.begin() as conn:
        upgrade(conn, migrations)
        assert {"t1", "t2"} <= names(conn)


def test_it_commits_nothing_by_itself(engine: sa.Engine, migrations: Migrations) -> None:
    """Whoever opened the transaction may still undo it."""
    with engine.connect() as conn:
        conn.execute(sa.text("CREATE TABLE before (a)"))
        conn.commit()
        with conn.begin():
            upgrade(conn, migrations)
            assert conn.in_transaction()

"""Columns that mean the same on both databases."""

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import CreateIndex, CreateTable

from llmgate.store.columns import NEVER_REUSED, id_column, owner, partial_index, required

metadata = sa.MetaData()
trees = sa.Table("trees", metadata, id_column(), required("name", sa.Text, "oak"), **NEVER_REUSED)
leaves = sa.Table("leaves", metadata, id_column(), owner("tree_id", "trees"), **NEVER_REUSED)
partial = partial_index("ix_oaks", ("id",), "name = 'oak'")
trees.append_constraint(partial)


@pytest.fixture
def db() -> sa.Connection:
    engine = sa.create_engine("sqlite://")
    metadata.create_all(engine)
    connection = engine.connect()
    connection.execute(sa.text("PRAGMA foreign_keys = ON"))
    return connection


def test_an_id_is_never_given_twice(db: sa.Connection) -> None:
    """Not even that of the last row, once it is deleted: keys and records outlive rows."""
    first = db.execute(trees.insert()).inserted_primary_key
    db.execute(trees.delete())
    assert first is not None
    second = db.execute(trees.insert()).inserted_primary_key
    assert second is not None
    assert second[0] == first[0] + 1


def test_a_default_is_the_servers_and_null_is_refused(db: sa.Connection) -> None:
    db.execute(trees.insert())
    assert db.scalar(sa.select(trees.c.name)) == "oak"
    with pytest.raises(IntegrityError):
        db.execute(trees.insert().values(name=None))


def test_what_belongs_to_a_row_goes_with_it(db: sa.Connection) -> None:
    db.execute(trees.insert().values(id=1))
    db.execute(leaves.insert().values(tree_id=1))
    db.execute(trees.delete())
    assert db.scalar(sa.select(sa.func.count()).select_from(leaves)) == 0


def test_ids_have_64_bits_on_both() -> None:
    """SQLite numbers rows in a column of type INTEGER alone, which holds as much."""
    assert "id INTEGER" in str(CreateTable(trees).compile(dialect=sqlite.dialect()))
    assert "id BIGSERIAL" in str(CreateTable(trees).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("dialect", [sqlite.dialect(), postgresql.dialect()])  # type: ignore[no-untyped-call]
def test_an_index_of_some_rows_is_one_of_these_on_both(dialect: sa.Dialect) -> None:
    assert str(CreateIndex(partial).compile(dialect=dialect)).endswith("WHERE name = 'oak'")

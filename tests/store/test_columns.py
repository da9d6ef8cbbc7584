"""Columns that mean the same on both databases."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from llmgate.store.columns import NEVER_REUSED, id_column, owner, partial_index, required

metadata = sa.MetaData()
owners = sa.Table("owners", metadata, id_column(), **NEVER_REUSED)
things = sa.Table(
    "things",
    metadata,
    id_column(),
    owner("owner_id", "owners"),
    owner("second_id", "owners", nullable=True),
    required("uses", sa.Integer, "0"),
    partial_index("ix_things_used", ("uses",), "uses > 0"),
)


def test_an_id_is_of_64_bits_and_never_comes_back() -> None:
    """On SQLite a number is that of a row only in a column declared INTEGER."""
    assert "id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT" in str(
        CreateTable(owners).compile(dialect=sqlite.dialect())
    )
    assert "id BIGSERIAL NOT NULL" in str(CreateTable(owners).compile(dialect=postgresql.dialect()))


def test_what_belongs_to_somebody_goes_with_them() -> None:
    """By the database itself."""
    made = str(CreateTable(things).compile(dialect=postgresql.dialect()))
    assert "owner_id BIGINT NOT NULL" in made
    assert "second_id BIGINT," in made
    assert made.count("REFERENCES owners (id) ON DELETE CASCADE") == 2


def test_a_required_column_may_have_a_default() -> None:
    """That of the server: rows from before have it, too."""
    made = str(CreateTable(things).compile(dialect=sqlite.dialect()))
    assert "uses INTEGER DEFAULT '0' NOT NULL" in made


def test_a_partial_index_is_one_on_both() -> None:
    """It costs nothing for the rows that it leaves out."""
    (index,) = things.indexes
    for dialect in (sqlite.dialect(), postgresql.dialect()):
        assert str(CreateIndex(index).compile(dialect=dialect)).endswith("(uses) WHERE uses > 0")

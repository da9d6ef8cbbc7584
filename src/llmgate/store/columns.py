"""Columns as the gate's tables have them, the same on SQLite and PostgreSQL; plugins write theirs with these, too."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, text
from sqlalchemy.util import PopulateDict

# SQLite numbers rows only in a column declared INTEGER, which holds 64 bits there all the same.
Id = BigInteger().with_variant(Integer, "sqlite")

# PostgreSQL's sequences never go back; SQLite gives the id of a deleted last row again unless told not to.
NEVER_REUSED: dict[str, Any] = {"sqlite_autoincrement": True}


def id_column() -> Column[int]:
    """The primary key `id`, numbered by the database; `**NEVER_REUSED` on the table keeps it from coming back."""
    return Column("id", Id, primary_key=True, autoincrement=True)


def required(name: str, kind: Any, default: str | None = None) -> Column[Any]:
    """A column that is never null; `default` is the server's, as SQL."""
    return Column(name, kind, nullable=False, server_default=default)


def owner(name: str, table: str, *, primary_key: bool = False, nullable: bool = False) -> Column[int]:
    """The id of a row of `table`, with which this one is deleted."""
    reference = ForeignKey(f"{table}.id", ondelete="CASCADE")
    return Column(name, Id, reference, primary_key=primary_key, nullable=nullable)


def partial_index(name: str, columns: tuple[str, ...], where: str) -> Index:
    """An index of the rows for which `where`, as SQL, holds."""
    index = Index(name, *columns, sqlite_where=text(where))
    options = index.dialect_options

    def asked(dialect: str) -> Any:
        if dialect == "postgresql":
            options[dialect]["where"] = text(where)
        return options[dialect]

    # Named in the constructor, the option would load PostgreSQL's dialect in every gate: 2 MB.
    index.dialect_options = PopulateDict(asked)
    return index

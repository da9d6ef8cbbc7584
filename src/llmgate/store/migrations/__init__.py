"""Schema revisions, applied forward: the core's own and those of plugins.

Each set of revisions is a folder of Alembic files named `NNNN_what.py` whose revision id is `NNNN`, one
after the other, and keeps its own place in the table `alembic_version_NAME`. What is pending follows
from the file names and one query; Alembic itself is only loaded to apply something.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import column, inspect, select, table, text

from ...errors import StoreError
from ..engine import connected, missing, parse, place, writing_engine
from .revisions import Migrations as Migrations

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection

LOCK_TIMEOUT = 60.0  # seconds that a starter waits while another one migrates
_ADVISORY_LOCK = 0x6C6C6D67617465  # "llmgate", as PostgreSQL wants a number


CORE = Migrations("core", Path(__file__).parent / "versions")


async def pending(url: str, *, sets: Iterable[Migrations] = (CORE,)) -> list[str]:
    """What `migrate` would apply, as `NAME REVISION`. Raises `StoreError` as `migrate` does."""
    target = parse(url)
    if missing(target):
        return [f"{one.name} {revision}" for one in sets for revision in one.revisions()]
    engine = writing_engine(target)
    try:
        async with connected(engine) as conn:
            return [label for one in sets for label in await conn.run_sync(_pending, one)]
    finally:
        await engine.dispose()


async def check(conn: AsyncConnection, *sets: Migrations) -> None:
    """Raise `StoreError` unless the database is at the newest revision of core and of each of `sets`."""
    waiting = [label for one in (CORE, *sets) for label in await conn.run_sync(_pending, one)]
    if waiting:
        where = place(conn.engine.url)
        raise StoreError(f"store ({where}): behind by {', '.join(waiting)}: run `llmgate migrate`")


async def migrate(url: str, *, sets: Iterable[Migrations] = (CORE,)) -> list[str]:
    """Apply what is pending and return it, as `NAME REVISION`; nothing is applied unless all of it can be.

    Raises `StoreError` if the database cannot be reached, is newer than this llmgate, or stays locked by
    another starter for over a minute. An error of a revision itself comes through as it is.
    """
    target = parse(url)
    if missing(target):
        _create_for_owner_only(Path(target.database or ""))
    # Rebuilding a table, SQLite's way of altering it, would delete the rows that refer to it.
    engine = writing_engine(target, busy_timeout=LOCK_TIMEOUT, foreign_keys=False)
    try:
        async with connected(engine) as conn, conn.begin():
            return await conn.run_sync(_migrate, list(sets))
    finally:
        await engine.dispose()


def _create_for_owner_only(path: Path) -> None:
    """Password hashes and signing keys go in there; SQLite would make the file readable for everyone."""
    try:
        path.touch(mode=0o600)
    except OSError as error:
        reason = error.strerror
        raise StoreError(
            f"store: {path} cannot be created: {reason}: create its folder or check its rights"
        ) from error


def _migrate(conn: Connection, sets: list[Migrations]) -> list[str]:
    if conn.dialect.name == "postgresql":  # SQLite's BEGIN IMMEDIATE has locked the whole file already
        conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    applied = []
    for one in sets:
        waiting = _pending(conn, one)
        if waiting:
            from .apply import upgrade  # noqa: PLC0415 - Alembic takes memory that a running gate need not spend

            upgrade(conn, one)
            applied += waiting
    if conn.dialect.name == "sqlite" and (broken := conn.execute(text("PRAGMA foreign_key_check")).first()):
        raise StoreError(f"store: after migrating, table {broken[0]} refers to a row that is not there")
    return applied


def _pending(conn: Connection, one: Migrations) -> list[str]:
    return [f"{one.name} {revision}" for revision in one.after(_current(conn, one))]


def _current(conn: Connection, one: Migrations) -> str | None:
    if not inspect(conn).has_table(one.version_table):
        return None
    version: str | None = conn.scalar(select(column("version_num")).select_from(table(one.version_table)))
    return version

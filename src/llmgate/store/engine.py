"""The open store: transactions on SQLite or PostgreSQL, and the border where driver errors end.

SQLite gets one connection that writes and a few that only read. Writers of this process queue for the
one connection instead of finding the file locked, and in WAL mode readers never wait for them.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import create_async_engine

from ..errors import StoreError
from . import db_errors
from .change_stamp import ChangeStamp, FileChangeStamp

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite
    from sqlalchemy.engine import Connection, Dialect
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
    from sqlalchemy.schema import Table

Clock = Callable[[], float]
"""Seconds since the epoch."""

Synchronous = Literal["normal", "full"]
"""SQLite's `PRAGMA synchronous`: `normal` survives the death of the process, `full` also a power cut."""

READERS = 4
BUSY_TIMEOUT = 5.0

_FORMS = "sqlite:///gate.db or postgresql://user:password@host/name"


class Store:
    """An open database. Made by `Store.open`; `changes` is the stamp that identity and quotas move."""

    def __init__(self, writer: AsyncEngine, reader: AsyncEngine, changes: ChangeStamp, clock: Clock) -> None:
        self.changes = changes
        self.clock = clock
        self._writer = writer
        self._reader = reader

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        *,
        clock: Clock = time.time,
        synchronous: Synchronous = "normal",
        busy_timeout: float = BUSY_TIMEOUT,
    ) -> AsyncIterator[Store]:
        """The store at `url`, closed on leaving.

        `url`: `sqlite:///FILE`, relative to the working directory, or `postgresql://...` (needs the extra
        `cluster`). `busy_timeout`: seconds that a writer waits for another process's transaction.
        Raises `StoreError` if the URL cannot be used, the database cannot be reached, or its tables are
        older or newer than this llmgate.
        """
        from .migrations import check  # noqa: PLC0415 - migrations stand on engines

        target = parse(url)
        if missing(target):
            raise StoreError(f"store ({place(target)}): the database does not exist: run `llmgate migrate`")
        async with AsyncExitStack() as stack:
            writer = writing_engine(target, synchronous=synchronous, busy_timeout=busy_timeout)
            stack.push_async_callback(writer.dispose)
            reader = writer.execution_options(isolation_level="AUTOCOMMIT")
            if target.get_backend_name() == "sqlite":
                reader = reading_engine(target, busy_timeout=busy_timeout)
                stack.push_async_callback(reader.dispose)
            async with connected(reader) as conn:
                await check(conn)
            yield cls(writer, reader, await stack.enter_async_context(_changes_of(target)), clock)

    @property
    def url(self) -> URL:
        """Where the database is: for the drivers that write past SQLAlchemy."""
        return self._writer.url

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[AsyncConnection]:
        """A connection for reading. Each statement sees what is committed when it starts."""
        async with connected(self._reader) as conn:
            yield conn

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A write transaction: committed on leaving, rolled back on an exception."""
        async with connected(self._writer) as conn, conn.begin():
            yield conn

    @asynccontextmanager
    async def change(self, within: AsyncConnection | None = None) -> AsyncIterator[AsyncConnection]:
        """A write transaction on identity or quotas: what the hot path remembers is forgotten after it.

        `within` is one that the caller has open already, of which this is to be a part.
        """
        if within is not None:
            yield within
            return
        committing = False
        try:
            async with self.begin() as conn:
                yield conn
                await self.changes.announce(conn)
                committing = True
        finally:
            if committing:  # however it ends: a COMMIT that was cancelled or failed may have reached the disk
                self.changes.bump()

    async def serialize(self, conn: AsyncConnection, name: str) -> None:
        """Let one write transaction at a time go past here, of all that give this name, until it ends.

        On SQLite that holds for every write transaction as it is.
        """
        if conn.dialect.name == "postgresql":
            await conn.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": name})

    def insert(self, table: Table) -> sqlite.Insert | postgresql.Insert:
        """An INSERT into `table` that knows `on_conflict_do_nothing` and `on_conflict_do_update`."""
        return dialect_insert(self._writer.dialect, table)


def dialect_insert(dialect: Dialect, table: Table) -> sqlite.Insert | postgresql.Insert:
    """The dialect's own INSERT: ON CONFLICT is the same on both, but SQLAlchemy's generic one lacks it."""
    if dialect.name == "sqlite":
        from sqlalchemy.dialects import sqlite  # noqa: PLC0415 - only one dialect is ever needed

        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415

    return postgresql.insert(table)


def parse(url: str) -> URL:
    """`url` with the driver that llmgate uses. Raises `StoreError`, which never quotes a password."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StoreError(f"store.url: this is not the URL of a database: write {_FORMS}") from None
    shown = place(parsed)
    match parsed.get_backend_name():
        case "sqlite":
            if not parsed.database or ":memory:" in parsed.database or parsed.database.startswith("file:"):
                raise StoreError(f"store.url: {shown} names no file: write sqlite:///gate.db")
            return parsed.set(drivername="sqlite+aiosqlite")
        case "postgresql":
            if find_spec("asyncpg") is None:
                raise StoreError(
                    "store.url: PostgreSQL needs asyncpg: `pip install '.[cluster]'` in a checkout of llmgate"
                )
            return parsed.set(drivername="postgresql+asyncpg")
        case _:
            raise StoreError(f"store.url: {shown} is of no kind that llmgate knows: write {_FORMS}")


def place(url: URL) -> str:
    """How messages name the database: its URL as gate.toml has it, without the password."""
    return url.set(drivername=url.get_backend_name()).render_as_string(hide_password=True)


def missing(url: URL) -> bool:
    """Whether `url` is that of an SQLite file which does not exist; opening it would make an empty one."""
    return url.get_backend_name() == "sqlite" and not Path(url.database or "").exists()


def writing_engine(
    url: URL,
    *,
    synchronous: Synchronous = "normal",
    busy_timeout: float = BUSY_TIMEOUT,
    foreign_keys: bool = True,
) -> AsyncEngine:
    """Connections whose transactions write. On SQLite one, which takes the write lock when it begins."""
    if url.get_backend_name() != "sqlite":
        return _translated(create_async_engine(url, pool_pre_ping=True, skip_autocommit_rollback=True))
    engine = create_async_engine(url, pool_size=1, max_overflow=0, connect_args=_connecting(busy_timeout))
    _on_connect(
        engine,
        "PRAGMA journal_mode = WAL",
        f"PRAGMA synchronous = {synchronous.upper()}",
        f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}",
        # Where a ledger is open, it does the checkpoints long before (see `ledger.checkpoints`).
        "PRAGMA wal_autocheckpoint = 16384",
    )

    @event.listens_for(engine.sync_engine, "begin")
    def _take_the_write_lock(conn: Connection) -> None:
        # A transaction that starts by reading could not be raised to writing once another has written.
        conn.exec_driver_sql("BEGIN IMMEDIATE")

    return _translated(engine)


def reading_engine(url: URL, *, busy_timeout: float = BUSY_TIMEOUT) -> AsyncEngine:
    """SQLite connections that cannot write; without transactions, so that a query is one round trip."""
    engine = create_async_engine(
        url,
        pool_size=READERS,
        max_overflow=0,
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        pool_reset_on_return=None,
        connect_args=_connecting(busy_timeout),
    )
    _on_connect(engine, "PRAGMA query_only = ON")
    return _translated(engine)


@asynccontextmanager
async def connected(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection of `engine`. Failing to get one is a `StoreError`, as is whatever fails on it."""
    async with AsyncExitStack() as stack:
        with _connecting_errors(engine):
            conn = await stack.enter_async_context(engine.connect())
        yield conn


@contextmanager
def _connecting_errors(engine: AsyncEngine) -> Iterator[None]:
    """SQLAlchemy passes on as they are the errors of a driver that gets no connection at all."""
    where = place(engine.url)
    try:
        yield
    except PoolTimeout as error:
        raise StoreError(f"store ({where}): every connection is in use: the database is too slow") from error
    except Exception as error:
        if isinstance(error, OSError) or hasattr(error, "sqlstate"):
            raise db_errors.fault(error, where) from error
        raise


def _connecting(busy_timeout: float) -> dict[str, Any]:
    # isolation_level None: the driver starts no transactions behind our back
    return {"timeout": busy_timeout, "isolation_level": None}


def _on_connect(engine: AsyncEngine, *pragmas: str) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def _set_pragmas(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
        cursor.close()


def _translated(engine: AsyncEngine) -> AsyncEngine:
    event.listen(engine.sync_engine, "handle_error", db_errors.hook(place(engine.url)))
    return engine


@asynccontextmanager
async def _changes_of(url: URL) -> AsyncIterator[ChangeStamp]:
    """The stamp that all processes on the database at `url` share."""
    if url.get_backend_name() != "sqlite":
        from .pg_notify import listening  # noqa: PLC0415 - needs the extra `cluster`

        async with listening(url) as notified:
            yield notified
        return
    path = Path(f"{url.database}.changes")
    try:
        changes = FileChangeStamp(path)
    except OSError as error:
        raise StoreError(
            f"store: {path} cannot be used: {error.strerror}; give the gate access to it"
        ) from error
    try:
        yield changes
    finally:
        changes.close()

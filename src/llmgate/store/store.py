"""The open store: reads, write transactions, and changes that are seen at once by what the hot path remembers."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import text

from ..errors import StoreError
from .change_stamp import ChangeStamp, FileChangeStamp
from .engine import (
    BUSY_TIMEOUT,
    Clock,
    Synchronous,
    connected,
    missing,
    parse,
    place,
    reading_engine,
    writing_engine,
)
from .migrations import check

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite
    from sqlalchemy.engine import URL, Dialect
    from sqlalchemy.ext.asyncio import AsyncConnection
    from sqlalchemy.schema import Table

    from .async_core import AsyncEngine


class Store:
    """An open database. Made by `Store.open`; `changes` is the stamp that identity and quotas move."""

    def __init__(self, writer: AsyncEngine, reader: AsyncEngine, changes: ChangeStamp, clock: Clock) -> None:
        self.changes = changes
        self.clock = clock
        self._writer = writer
        self._reader = reader
        self._flushes: list[Callable[[], Awaitable[None]]] = []

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

    @contextmanager
    def flushed_by(self, flush: Callable[[], Awaitable[None]]) -> Iterator[None]:
        """While entered, `flush` writes what this process knows and has not written yet."""
        self._flushes.append(flush)
        try:
            yield
        finally:
            self._flushes.remove(flush)

    async def flush(self) -> None:
        """Wait until the records of all answers that have ended in this process are in the database.

        For whoever is about to read usage or balances, before opening a connection. Raises `StoreError` if it takes
        too long.
        """
        for flush in self._flushes:
            await flush()

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

        `within` is one that the caller has open already, of which this is to be a part. What it reads of usage and
        balances is as after `flush`.
        """
        if within is not None:
            yield within
            return
        await self.flush()
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

"""Engines of SQLAlchemy on SQLite and PostgreSQL, and the border where driver errors end.

SQLite gets one connection that writes and a few that only read. Writers of this process queue for the
one connection instead of finding the file locked, and in WAL mode readers never wait for them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ..errors import StoreError, extra_remedy
from . import db_errors
from .async_core import AsyncEngine, create_async_engine

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection

Clock = Callable[[], float]
"""Seconds since the epoch."""

Synchronous = Literal["normal", "full"]
"""SQLite's `PRAGMA synchronous`: `normal` survives the death of the process, `full` also a power cut."""

READERS = 4
BUSY_TIMEOUT = 5.0

_FORMS = "sqlite:///gate.db or postgresql://user:password@host/name"


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
                raise StoreError(f"store.url: PostgreSQL needs asyncpg: {extra_remedy('cluster')}")
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
        yield cast("AsyncConnection", conn)


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

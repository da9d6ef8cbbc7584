"""SQLAlchemy's core on asyncio, without its ORM: what a store needs of engines and connections.

`sqlalchemy.ext.asyncio` does the same, and imports the whole ORM with it: 8 MB and a tenth of a second in a gate that
maps no objects. Beneath, both run the synchronous core in a greenlet, which gives way where the driver waits.
A connection here has those methods of SQLAlchemy's `AsyncConnection` that llmgate and its plugins use, under the same
names; so that is what type annotations call it.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa
from sqlalchemy.util import concurrency

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from sqlalchemy.engine import URL, Connection, CursorResult, Dialect, Engine, ScalarResult, Transaction


class AsyncEngine:
    """The engine `sync_engine`, whose driver is asynchronous."""

    def __init__(self, sync_engine: Engine) -> None:
        self.sync_engine = sync_engine

    @property
    def url(self) -> URL:
        """Where the database is."""
        return self.sync_engine.url

    @property
    def dialect(self) -> Dialect:
        """How the database is spoken to."""
        return self.sync_engine.dialect

    def execution_options(self, **options: Any) -> AsyncEngine:
        """The same pool with other options."""
        return AsyncEngine(self.sync_engine.execution_options(**options))

    def connect(self) -> AsyncConnection:
        """A connection of the pool, to be entered."""
        return AsyncConnection(self)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction."""
        async with self.connect() as connection, connection.begin():
            yield connection

    async def dispose(self) -> None:
        """Close all connections that nobody uses."""
        await concurrency.greenlet_spawn(self.sync_engine.dispose)


def create_async_engine(url: URL, **settings: Any) -> AsyncEngine:
    """As SQLAlchemy's function of this name."""
    concurrency._concurrency_shim._initialize()  # as `sqlalchemy.ext.asyncio` does
    return AsyncEngine(sa.create_engine(url, _is_async=True, **settings))


class AsyncConnection:
    """A connection of `engine`, open while it is entered."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.sync_connection: Connection

    async def __aenter__(self) -> Self:
        self.sync_connection = await concurrency.greenlet_spawn(self.engine.sync_engine.connect)
        return self

    async def __aexit__(self, *_: object) -> None:
        await _to_the_end(concurrency.greenlet_spawn(self.sync_connection.close))

    @property
    def dialect(self) -> Dialect:
        """How the database is spoken to."""
        return self.sync_connection.dialect

    def in_transaction(self) -> bool:
        """Whether a transaction has begun."""
        return self.sync_connection.in_transaction()

    def begin(self) -> AsyncTransaction:
        """A transaction, to be entered."""
        return AsyncTransaction(self)

    async def execute(self, statement: sa.Executable, parameters: Any = None) -> CursorResult[Any]:
        """All rows of it, read."""
        result: CursorResult[Any] = await self.run(self.sync_connection.execute, statement, parameters)
        return result

    async def exec_driver_sql(self, statement: str, parameters: Any = None) -> CursorResult[Any]:
        """SQL as the driver takes it."""
        result: CursorResult[Any] = await self.run(
            self.sync_connection.exec_driver_sql, statement, parameters
        )
        return result

    async def scalar(self, statement: sa.Executable, parameters: Any = None) -> Any:
        """The first column of the first row; None without one."""
        return (await self.execute(statement, parameters)).scalar()

    async def scalars(self, statement: sa.Executable, parameters: Any = None) -> ScalarResult[Any]:
        """The first column of every row."""
        return (await self.execute(statement, parameters)).scalars()

    async def run_sync(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What `function` makes of the synchronous connection."""
        return await self.run(function, self.sync_connection, *arguments)

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call `function` where the driver may wait."""
        return await concurrency.greenlet_spawn(function, *arguments)


class AsyncTransaction:
    """A transaction of `connection`: committed on leaving, rolled back on an exception."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._transaction: Transaction

    async def __aenter__(self) -> Self:
        self._transaction = await self._connection.run(self._connection.sync_connection.begin)
        self._transaction.__enter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._connection.run(self._transaction.__exit__, *error)


async def _to_the_end(work: Coroutine[Any, Any, Any]) -> None:
    """Do `work` even if the caller is cancelled meanwhile: what is half given back is in nobody's pool."""
    task = asyncio.ensure_future(work)
    cancelled = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    task.result()

"""Where the gate is tortured: alone on SQLite, as several workers on PostgreSQL and Redis, and on hosts that are lost.

An answer that has ended in the journal (`durability = "journal"`) survives the death of every process, one that has
ended in the database ("commit") the loss of the host as well.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from . import processes
from .hosts import GateHost, Missing, StoreHost
from .run import Scene
from .trouble import Postgres, Sqlite

POSTGRES = "LLMGATE_TEST_POSTGRES"
"""Environment variable with the URL of a database on a server where a database for the run may be made."""
DEFAULT_POSTGRES = "postgresql://postgres@127.0.0.1:5432/test"
WORKERS = 3


@asynccontextmanager
async def sqlite(folder: Path) -> AsyncIterator[Scene]:
    """One process on a file in `folder`."""
    path = folder / "gate.db"
    yield Scene("sqlite", folder, f"sqlite:///{path}", Sqlite(path))


@asynccontextmanager
async def sqlite_host(folder: Path) -> AsyncIterator[Scene]:
    """The same on a host that is lost with all that was not synced. Raises `Missing`."""
    path = folder / "gate.db"
    yield Scene(
        "sqlite-host",
        folder,
        f"sqlite:///{path}",
        Sqlite(path),
        durability="commit",
        synchronous="full",
        host=StoreHost(folder),
    )


@asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[Scene]:
    """Several workers on a database of its own, with a Redis of its own. Raises `Missing`."""
    async with _cluster(folder) as scene:
        yield scene


@asynccontextmanager
async def cluster_host(folder: Path) -> AsyncIterator[Scene]:
    """The same on a host that is lost, and the database is not. Raises `Missing`."""
    async with _cluster(folder) as scene:
        yield replace(scene, name="cluster-host", durability="commit", host=GateHost(folder))


@asynccontextmanager
async def _cluster(folder: Path) -> AsyncIterator[Scene]:
    admin = os.environ.get(POSTGRES, DEFAULT_POSTGRES)
    name = f"llmgate_torture_{uuid.uuid4().hex[:8]}"
    store = f"{admin.rpartition('/')[0]}/{name}"
    binary = shutil.which("redis-server")
    if binary is None:
        raise Missing("redis-server is not installed")
    await _command(admin, f'CREATE DATABASE "{name}"')
    try:
        shared = processes.redis(folder, binary)
        yield Scene("cluster", folder, store, Postgres(store, admin), workers=WORKERS, shared=shared)
    finally:
        await _command(admin, f'DROP DATABASE "{name}" WITH (FORCE)')


async def _command(url: str, sql: str) -> None:
    try:
        import asyncpg
    except ImportError:
        raise Missing("asyncpg is not installed (the extra `cluster`)") from None
    try:
        connection = await asyncpg.connect(url)
    except OSError as error:
        raise Missing(f"no PostgreSQL answers at ${POSTGRES} ({error})") from error
    try:
        await connection.execute(sql)
    finally:
        await connection.close()

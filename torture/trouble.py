"""What goes wrong during a run: one trouble after the other, drawn from the run's seed."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, nullcontext, suppress
from pathlib import Path
from typing import Any

from . import processes
from .hosts import GateHost
from .processes import Program

LONGEST_LOCK = 7.0
"""Seconds: longer than requests wait for their record."""
BETWEEN = 0.3, 2.0
"""Seconds from the end of one trouble to the next."""
MAX_LOOKS = 100
Trouble = Callable[[], Coroutine[Any, Any, None]]


class Database:
    """What can happen to a store."""

    def locked(self) -> AbstractAsyncContextManager[None]:
        """Nobody else writes while it is entered."""
        raise NotImplementedError

    async def lock(self, seconds: float) -> None:
        """Nobody else writes for so long."""
        async with self.locked():
            await asyncio.sleep(seconds)

    async def restart(self, seconds: float) -> None:
        """Everybody is thrown out and nobody let in for so long."""
        raise NotImplementedError


class Sqlite(Database):
    """A file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """BEGIN IMMEDIATE, and nothing more."""
        with closing(sqlite3.connect(self._path, isolation_level=None, timeout=5.0)) as db:
            db.execute("BEGIN IMMEDIATE")
            yield
            db.execute("ROLLBACK")

    async def restart(self, seconds: float) -> None:
        """There is no server that could be restarted."""
        await self.lock(seconds)


class Postgres(Database):
    """A database on a server that `admin` is another database of."""

    def __init__(self, url: str, admin: str) -> None:
        self._url = url
        self._admin = admin

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """No record is written meanwhile."""
        import asyncpg

        connection = await asyncpg.connect(self._url)
        try:
            async with connection.transaction():
                await connection.execute("LOCK TABLE usage IN EXCLUSIVE MODE")
                yield
        finally:
            connection.terminate()

    async def restart(self, seconds: float) -> None:
        """What the database's clients see of a restart, since the server is not ours."""
        import asyncpg

        name = self._url.rpartition("/")[2]
        connection = await asyncpg.connect(self._admin)
        try:
            await connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name
            )
            await asyncio.sleep(seconds)
        finally:
            await connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
            await connection.close()


class Troubles:
    """All that is done to a gate, its backends, its store and its Redis, and how often it was."""

    def __init__(
        self,
        rng: random.Random,
        gate: Program,
        backends: list[Program],
        database: Database,
        *,
        redis: Program | None,
        host: GateHost | None = None,
    ) -> None:
        self.done: Counter[str] = Counter()
        self._rng = rng
        self._gate = gate
        self._backends = backends
        self._database = database
        self._redis = redis
        self._host = host
        self._held: set[asyncio.Task[None]] = set()
        self._locking = asyncio.Lock()

    async def go_on(self, seconds: float) -> None:
        """One trouble after the other, with pauses, for about so long; returns when the last one is over."""
        end = time.monotonic() + seconds
        kinds = self._kinds()
        while True:
            self._rng.shuffle(kinds)
            for kind in kinds:
                await asyncio.sleep(self._rng.uniform(*BETWEEN))
                if time.monotonic() >= end:
                    await asyncio.gather(*self._held)
                    return
                await kind()

    def _kinds(self) -> list[Trouble]:
        kinds = [self.kill_gate, self.kill_before_commit, self.reload, self.kill_backend, self.lock]
        if self._host is not None:
            kinds += [self.lose_host] * 2
        if self._redis is not None:
            kinds += [self.restart_database, self.kill_redis, *[self.kill_worker] * 3]
        return kinds

    async def kill_gate(self) -> None:
        """kill -9 to every process of the gate at once, as when its host dies."""
        self.done["kill -9 of the gate"] += 1
        async with self._alone_with_the_store():
            await self._gate.restart(self._rng.uniform(0, 0.5))

    async def kill_before_commit(self) -> None:
        """kill -9 to every process of the gate while answers have ended whose records are not in the store."""
        async with self._locking:
            async with self._database.locked():
                if await self._unwritten():
                    self.done["kill -9 between slot and commit"] += 1
                await self._gate.kill()
            if self._host is not None:
                self._host.sync()
            await self._gate.start()

    async def lose_host(self) -> None:
        """The gate's host is gone, with all that was not on its disk."""
        assert self._host is not None
        async with self._locking:  # who locks an SQLite file is on that host as well
            self.done["host lost"] += 1
            await self._gate.kill()
            self._host.lose()
            await self._gate.start()

    def _alone_with_the_store(self) -> AbstractAsyncContextManager[object]:
        """On a host that is lost nobody but the gate may be the last to close the file: that moves its log, too."""
        return nullcontext() if self._host is None else self._locking

    async def die(self) -> None:
        """The worst death that this gate can die."""
        await (self.kill_gate() if self._host is None else self.lose_host())

    async def _unwritten(self) -> bool:
        """Wait until some record waits for the store; False if none does for long."""
        for _ in range(MAX_LOOKS):
            with suppress(OSError):
                shown = processes.samples(await processes.get(self._gate.port, "/metrics"))
                if any(name.startswith("llmgate_ledger_backlog") and value for name, value in shown):
                    return True
            await asyncio.sleep(0.02)
        return False

    async def kill_worker(self) -> None:
        """kill -9 to one worker, for the supervisor to replace."""
        if workers := self._gate.children():
            self.done["kill -9 of a worker"] += 1
            with suppress(ProcessLookupError):
                os.kill(self._rng.choice(workers), signal.SIGKILL)

    async def kill_backend(self) -> None:
        """kill -9 to a backend in the middle of its answers."""
        self.done["kill -9 of a backend"] += 1
        await self._rng.choice(self._backends).restart()

    async def kill_redis(self) -> None:
        """kill -9 to Redis, which loses all that it knew."""
        assert self._redis is not None
        self.done["kill -9 of Redis"] += 1
        await self._redis.restart(self._rng.uniform(0, 1.5))

    async def reload(self) -> None:
        """SIGHUP; one time in two with a file that is no gate.toml, before the right one."""
        path = self._gate.folder / "gate.toml"
        right = path.read_text()
        if self._rng.random() < 0.5:
            self.done["reload of a bad file"] += 1
            path.write_text(right + "\n[[routes]]\nupstream = 1\n")
            self._gate.signal(signal.SIGHUP)
            await asyncio.sleep(0.3)
        self.done["reload"] += 1
        path.write_text(f"{right}# {len(right)}\n")
        self._gate.signal(signal.SIGHUP)

    async def lock(self) -> None:
        """The store is locked, while other troubles go on."""
        self.done["store locked"] += 1
        self._begin(self._database.lock(self._rng.uniform(0.5, LONGEST_LOCK)))

    async def restart_database(self) -> None:
        """All connections to the database are cut, and for a moment none is accepted."""
        self.done["database restarted"] += 1
        self._begin(self._database.restart(self._rng.uniform(0.1, 3.0)))

    def _begin(self, work: Awaitable[None]) -> None:
        async def alone() -> None:
            async with self._locking:
                await work

        task = asyncio.create_task(alone())
        self._held.add(task)

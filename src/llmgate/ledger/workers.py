"""Which of the gate's processes live: a process that has died must not keep what it had leased.

On SQLite all processes share a host, and the operating system knows who lives: each holds the lock of its
journal (see `journal`), which ends with it, however slow or stopped it is. On PostgreSQL a process sends
heartbeats, by the database's clock because hosts' clocks differ. One that has sent none for `EXPIRES_AFTER_S` is
evicted; it must stop deciding before that (`lease_valid`), and comes back under a new name, so that nothing done in the
old one touches its new leases. A process cut off for longer than that may pass a limit by what its running
requests used: others may have spent what it gave up.
"""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Self

import sqlalchemy as sa

from ..errors import StoreError
from ..store.schema import leases, workers
from .journal import Abandoned, Journal, abandoned, present

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..store import Store

log = logging.getLogger("llmgate.ledger")

EXPIRES_AFTER_S = 10.0
"""Seconds without a heartbeat after which a worker's leases return to the accounts."""
FENCED_AFTER_S = 6.0
"""Seconds without a heartbeat after which a worker no longer trusts its own leases."""

LONGEST_NAME = 1000
"""Bytes of a database's name, for which a journal has room."""


class WorkerExpired(StoreError):
    """This worker was thought dead, and what it had leased is gone."""


class Workers:
    """The workers on one store, of which this process is `worker_id`, from entering to leaving.

    Every method raises `StoreError`. `journals` is the folder of the journals of all workers of this host.
    """

    def __init__(
        self,
        store: Store,
        journals: Path,
        worker_id: str | None = None,
        *,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.worker_id = worker_id or uuid.uuid4().hex
        self._database = _name_of(store, journals)
        self._foreign: set[Path] = set()
        self.journal = Journal(journals, self.worker_id, self._database)
        self.uses_heartbeat = store.url.get_backend_name() == "postgresql"
        """Whether liveness is told by heartbeats, rather than by the locks of journals."""
        self._store = store
        self._journals = journals
        self._timer = timer
        self._proven_at = timer()

    @property
    def lease_valid(self) -> bool:
        """Whether this worker may still trust its leases."""
        return not self.uses_heartbeat or self._timer() - self._proven_at < FENCED_AFTER_S

    async def __aenter__(self) -> Self:
        try:
            await self._join()
        except BaseException:
            self.journal.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.evict([self.worker_id])
        except StoreError as error:
            log.warning("leases stay out until this worker is found dead: %s", error)
        finally:
            self.journal.close()

    async def _join(self) -> None:
        began = self._timer()
        async with self._store.begin() as db:
            now = self._now()
            values = {"id": self.worker_id, "host": socket.gethostname(), "pid": os.getpid()}
            await db.execute(sa.insert(workers).values(**values, started_at=now, seen_at=now))
        self._proven_at = began

    async def heartbeat(self) -> None:
        """Say that this worker lives, and evict those that have not said so for too long.

        Raises `WorkerExpired` if that was done to this worker; it may `rejoin`.
        """
        began = self._timer()
        async with self._store.begin() as db:
            heartbeat = await db.execute(
                sa.update(workers).where(workers.c.id == self.worker_id).values(seen_at=self._now())
            )
            if heartbeat.rowcount == 0:
                raise WorkerExpired("this worker has not reached the database for too long")
            # Found and deleted in one statement: one who sends a heartbeat meanwhile is not evicted.
            silent = sa.delete(workers).where(workers.c.seen_at < self._now() - EXPIRES_AFTER_S)
            await self._evict(db, list(await db.scalars(silent.returning(workers.c.id))))
        self._proven_at = began

    async def rejoin(self) -> None:
        """Start over under a new name, with nothing leased."""
        self.worker_id = uuid.uuid4().hex
        self.journal.rename(self.worker_id)
        await self._join()

    def abandoned(self) -> Iterator[Abandoned]:
        """The journals of dead workers of this host and of this database."""
        for found in abandoned(self._journals):
            if not found.readable:
                found.put_aside()
            elif found.database != self._database:
                found.close(remove=False)
                self._tell_once(found)
            else:
                yield found

    def _tell_once(self, found: Abandoned) -> None:
        if found.path not in self._foreign:
            self._foreign.add(found.path)
            log.warning(
                "%s is the journal of a worker on %s, which has died: its requests are recorded when a gate starts "
                "there",
                found.path,
                found.database or "the SQLite file that this folder was beside",
            )

    async def evict_without_journal(self) -> None:
        """Return the leases of workers whose journals were dealt with, but who are still on the list."""
        if not self.uses_heartbeat:
            async with self._store.connect() as db:
                listed = set(await db.scalars(sa.select(workers.c.id)))
            # A worker makes its journal before it joins: one without has died.
            if dead := listed - present(self._journals):
                await self.evict(dead)

    async def evict(self, dead: Iterable[str]) -> None:
        """Return the leases of these workers, which are known to be dead."""
        async with self._store.begin() as db:
            await self._evict(db, list(dead))

    async def count(self, db: AsyncConnection) -> int:
        """How many workers live. Raises `WorkerExpired` if this one does not; it will, until `db` commits."""
        query = sa.select(workers.c.id).where(workers.c.id == self.worker_id).with_for_update(read=True)
        if await db.scalar(query) is None:
            raise WorkerExpired("this worker was thought dead")
        return await db.scalar(sa.select(sa.func.count()).select_from(workers)) or 1

    async def _evict(self, db: AsyncConnection, dead: list[str]) -> None:
        if dead:
            await db.execute(sa.delete(workers).where(workers.c.id.in_(dead)))
            await db.execute(sa.delete(leases).where(leases.c.worker_id.in_(dead)))

    def _now(self) -> sa.ColumnElement[float]:
        if self.uses_heartbeat:
            return sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Double)
        return sa.literal(self._store.clock())


def journals_of(store: Store) -> Path:
    """Where the journals of `store`'s workers are, if nobody says otherwise."""
    if store.url.get_backend_name() == "sqlite":
        return Path(f"{store.url.database}.workers")
    return Path("llmgate.workers")


def _name_of(store: Store, journals: Path) -> str:
    """What tells the database of `store` from others whose workers may have the same folder, in 1,000 bytes at most.

    The folder beside an SQLite file is that file's, wherever the two are moved together; in any other, its journals
    are those of the file that is there now.
    """
    url = store.url
    if url.get_backend_name() == "sqlite":
        if journals.resolve() == journals_of(store).resolve():
            return ""
        name = f"SQLite {Path(url.database or '').resolve()}"
    else:
        host, port = (
            given or url.query.get(part, "") for part, given in (("host", url.host), ("port", url.port))
        )
        name = f"{host}:{port}/{url.database or ''}"
    text = name.encode()
    return name if len(text) <= LONGEST_NAME else f"SHA-256 {sha256(text).hexdigest()}"

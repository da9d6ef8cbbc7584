"""The ledger's hot write path on SQLite: one thread, one connection, one transaction per group."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from ..errors import StoreError
from .model import Entry
from .statements import RECORD_COLUMNS, Spent, spent_by_quota

_COLUMNS = ", ".join(RECORD_COLUMNS)
_INSERT_RECORD = f"INSERT INTO usage ({_COLUMNS}) VALUES ({', '.join('?' * len(RECORD_COLUMNS))})"  # noqa: S608
_CHARGE_QUOTA = """
UPDATE quotas SET
    used = CASE WHEN window_start = ?1 THEN used + ?2 WHEN window_start < ?1 THEN ?2 ELSE used END,
    window_start = max(window_start, ?1)
WHERE id = ?3
"""
_CHARGE_LEASE = (
    "UPDATE leases SET amount = amount - ?2 WHERE quota_id = ?3 AND worker_id = ?4 AND window_start = ?1"
)
_row = attrgetter(*RECORD_COLUMNS)


class _Job(NamedTuple):
    entries: Sequence[Entry]
    again: bool
    done: asyncio.Future[None]


class SqliteCommitter:
    """Writes groups of entries from a thread of its own, so that the event loop never waits for the disk.

    The connection is opened by the first group and again after every failure, which is how the ledger
    recovers from a full disk or a replaced file without a restart.
    """

    def __init__(
        self, path: Path, worker_id: str, *, synchronous: str = "normal", busy_timeout: float = 5.0
    ) -> None:
        self._path = path
        self._worker_id = worker_id
        self._synchronous = synchronous
        self._busy_timeout = busy_timeout
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="llmgate-ledger", daemon=True)
        self._thread.start()

    async def commit(self, entries: Sequence[Entry], *, again: bool) -> None:
        """See `Committer`."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._jobs.put(_Job(entries, again, done))
        await done

    async def aclose(self) -> None:
        """Stop the thread and close its connection."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                self._write(job.entries, again=job.again)
            except sqlite3.Error as error:
                self._disconnect()
                self._resolve(job.done, _translated(error, self._path))
            except Exception as error:  # an entry that cannot be bound: the queue in front sorts it out
                self._disconnect()
                self._resolve(job.done, error)
            else:
                self._resolve(job.done, None)
        self._disconnect()

    def _write(self, entries: Sequence[Entry], *, again: bool) -> None:
        connection = self._connection or self._connect()
        connection.execute("BEGIN IMMEDIATE")
        if again:
            entries = list(_without_known(connection, entries))
        connection.executemany(_INSERT_RECORD, [_row(entry.record) for entry in entries])
        charges = spent_by_quota(entries)
        if charges:
            connection.executemany(_CHARGE_QUOTA, [charge[:3] for charge in self._bound(charges)])
            connection.executemany(_CHARGE_LEASE, self._bound(charges))
        connection.execute("COMMIT")

    def _bound(self, charges: Iterable[Spent]) -> Iterator[tuple[float, int, int, str]]:
        for charge in charges:
            yield charge.window_start, charge.amount, charge.quota_id, self._worker_id

    def _connect(self) -> sqlite3.Connection:
        if not self._path.exists():
            raise sqlite3.OperationalError("the database file is gone")
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=self._busy_timeout)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        self._connection = connection
        return connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _resolve(self, done: asyncio.Future[None], error: Exception | None) -> None:
        def resolve() -> None:
            if not done.done():
                done.set_exception(error) if error else done.set_result(None)

        self._loop.call_soon_threadsafe(resolve)


def _without_known(connection: sqlite3.Connection, entries: Sequence[Entry]) -> Iterator[Entry]:
    for entry in entries:
        known = connection.execute("SELECT 1 FROM usage WHERE request_id = ?", (entry.record.request_id,))
        if known.fetchone() is None:
            yield entry


def _translated(error: sqlite3.Error, path: Path) -> Exception:
    """A `StoreError` for what may pass; the error itself where an entry is at fault."""
    if isinstance(
        error, sqlite3.IntegrityError | sqlite3.ProgrammingError | sqlite3.InterfaceError | sqlite3.DataError
    ):
        return error
    return StoreError(f"{path}: {error}")

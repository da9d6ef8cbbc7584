"""The ledger's hot write path on SQLite: one thread, one connection, one transaction per group."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from itertools import chain
from operator import attrgetter
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from ..errors import StoreError
from ..store import faults
from .model import Entry
from .statements import RECORD_COLUMNS, spent_by_lease

_COLUMNS = ", ".join(RECORD_COLUMNS)
_VALUES = f"({', '.join('?' * len(RECORD_COLUMNS))})"
_INSERT = {
    rows: f"INSERT INTO usage ({_COLUMNS}) VALUES {', '.join([_VALUES] * rows)}"  # noqa: S608
    for rows in (32, 16, 8, 4, 2, 1)
}
"""Statements for so many records at once. For each statement sqlite3 lets go of the interpreter and waits to
get it back, which costs more than writing a record: a group is written in as few as will do."""
_INSERT_NEW = f"{_INSERT[1]} ON CONFLICT (request_id) DO NOTHING"
# A window that is over, and was followed by another, needs no charges any more.
_CHARGE_QUOTA = "UPDATE quotas SET used = used + ?4 WHERE id = ?1 AND window_start <= ?2"
_CHARGE_LEASE = (
    "UPDATE leases SET spent = spent + ?4 WHERE quota_id = ?1 AND worker_id = ?3 AND window_start = ?2"
)
_row = attrgetter(*RECORD_COLUMNS)
_FAULTS_OF_ENTRIES = (
    sqlite3.IntegrityError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    sqlite3.DataError,
)


class _Job(NamedTuple):
    entries: Sequence[Entry]
    done: asyncio.Future[None]


class SqliteCommitter:
    """Writes groups of entries from a thread of its own, so that the event loop never waits for the disk.

    The connection is opened by the first group and again after every failure, which is how the ledger
    recovers from a full disk or a locked file without a restart. A file that was removed, or replaced
    while the gate runs, is not written: what goes into it would be lost, or in the wrong books.
    """

    def __init__(self, path: Path, *, synchronous: str = "normal", busy_timeout: float = 5.0) -> None:
        self._path = path
        self._synchronous = synchronous
        self._busy_timeout = busy_timeout
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._file = self._identity()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="llmgate-ledger", daemon=True)
        self._thread.start()

    async def commit(self, entries: Sequence[Entry]) -> None:
        """See `Committer`."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._jobs.put(_Job(entries, done))
        await done

    async def aclose(self) -> None:
        """Stop the thread and close its connection."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                self._write(job.entries)
            except Exception as error:
                self._disconnect()
                self._resolve(job.done, self._translated(error))
            else:
                self._resolve(job.done, None)
        self._disconnect()

    def _write(self, entries: Sequence[Entry]) -> None:
        if self._identity() != self._file:
            raise StoreError(f"{self._path}: the database was replaced: restart the gate")
        connection = self._connection or self._connect()
        connection.execute("BEGIN IMMEDIATE")
        try:
            _insert(connection, [_row(entry.record) for entry in entries])
        except sqlite3.IntegrityError:  # rare enough to ask about each of them only now
            connection.execute("ROLLBACK")
            connection.execute("BEGIN IMMEDIATE")
            entries = [
                entry for entry in entries if connection.execute(_INSERT_NEW, _row(entry.record)).rowcount
            ]
        if charges := spent_by_lease(entries):
            connection.executemany(_CHARGE_QUOTA, charges)
            connection.executemany(_CHARGE_LEASE, charges)
        connection.execute("COMMIT")

    def _identity(self) -> tuple[int, int]:
        try:
            status = self._path.stat()
        except OSError as error:
            raise StoreError(f"{self._path}: the database is gone: {error.strerror}") from error
        return status.st_dev, status.st_ino

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=self._busy_timeout)
        self._connection = connection
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
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

    def _translated(self, error: Exception) -> Exception:
        """A `StoreError` for what may pass; the error itself where an entry is at fault."""
        if not isinstance(error, sqlite3.Error) or isinstance(error, _FAULTS_OF_ENTRIES):
            return error
        return faults.fault(error, str(self._path))


def _insert(connection: sqlite3.Connection, rows: Sequence[tuple[object, ...]]) -> None:
    done = 0
    for size, statement in _INSERT.items():
        while len(rows) - done >= size:
            connection.execute(statement, tuple(chain.from_iterable(rows[done : done + size])))
            done += size

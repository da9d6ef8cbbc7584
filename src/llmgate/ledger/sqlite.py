"""The ledger's hot write path on SQLite: one thread, one connection, one transaction per group."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from functools import cache
from itertools import chain, zip_longest
from pathlib import Path
from queue import SimpleQueue

from msgspec import to_builtins

from ..store import db_errors
from .checkpoints import Checkpoints
from .model import Entry
from .sqlite_file import SqliteFile
from .statements import RECORD_COLUMNS, Spent, spent_by_lease

MAX_ROWS = 16
"""The most rows of a group that is a single statement, which is its transaction, too. For each statement sqlite3 lets
go of the interpreter and waits to get it back, for 5 ms where the event loop is never idle."""
BLOCK = 64
"""Rows of one statement of a larger group: the larger they are, the fewer such waits."""

_RECORD = ", ".join(RECORD_COLUMNS)
_SPENT = ", ".join(Spent._fields)
_COLUMNS = {"usage": RECORD_COLUMNS, "entries": (*RECORD_COLUMNS, *Spent._fields)}
_NO_RECORD = (None,) * len(RECORD_COLUMNS)
_NO_SPENT = (None,) * len(Spent._fields)
_ENTRIES = (
    # Each row has a record, or what was spent by the whole group from one lease, or both.
    f"CREATE TEMP VIEW entries ({_RECORD}, {_SPENT}) AS SELECT {', '.join(['NULL'] * len(_COLUMNS['entries']))}",
    f"""
    CREATE TEMP TRIGGER record INSTEAD OF INSERT ON entries WHEN NEW.request_id IS NOT NULL BEGIN
        INSERT INTO usage ({_RECORD}) VALUES ({", ".join(f"NEW.{name}" for name in RECORD_COLUMNS)});
    END
    """,  # noqa: S608
    # A window that is over, and was followed by another, needs no charges any more.
    """
    CREATE TEMP TRIGGER charge INSTEAD OF INSERT ON entries WHEN NEW.quota_id IS NOT NULL BEGIN
        UPDATE quotas SET used = used + NEW.amount
        WHERE id = NEW.quota_id AND window_start <= NEW.window_start;
        UPDATE leases SET spent = spent + NEW.amount
        WHERE quota_id = NEW.quota_id AND worker_id = NEW.holder AND window_start = NEW.window_start;
    END
    """,
)
_FAULTS_OF_ENTRIES = (
    sqlite3.IntegrityError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    sqlite3.DataError,
)

_Job = tuple[Sequence[Entry], asyncio.Future[None]]


class SqliteCommitter:
    """Writes groups of entries from a thread of its own, so that the event loop never waits for the disk.

    The connection is opened by the first group and again after every failure, which is how the ledger
    recovers from a full disk or a locked file without a restart. A file that was removed, or replaced
    while the gate runs, is not written: what goes into it would be lost, or in the wrong books.
    """

    def __init__(self, path: Path, *, synchronous: str = "normal", busy_timeout: float = 5.0) -> None:
        self._file = SqliteFile(path)
        self._synchronous = synchronous
        self._busy_timeout = busy_timeout
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._loop = asyncio.get_running_loop()
        self._checkpoints = Checkpoints(self._file)
        self._thread = threading.Thread(target=self._run, name="llmgate-ledger", daemon=True)
        self._thread.start()

    def commit(self, entries: Sequence[Entry]) -> asyncio.Future[None]:
        """See `Committer`."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._jobs.put((entries, done))
        return done

    async def aclose(self) -> None:
        """Stop the threads and close their connections."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._checkpoints.close)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            entries, done = job
            fault = None
            try:
                self._write(entries)
                self._checkpoints.written += len(entries)
            except Exception as error:
                self._disconnect()
                fault = self._translated(error)
            self._loop.call_soon_threadsafe(_resolve, done, fault)
        self._disconnect()

    def _write(self, entries: Sequence[Entry]) -> None:
        self._file.check()
        connection = self._connection or self._connect()
        spent = spent_by_lease(entries)
        try:
            with connection:
                if max(len(entries), len(spent)) > MAX_ROWS:
                    connection.execute("BEGIN IMMEDIATE")
                    _insert(
                        connection, entries, ()
                    )  # by themselves they need no trigger, which takes half as long
                    _insert(connection, (), spent)
                else:
                    _insert(connection, entries, spent)
        except sqlite3.IntegrityError:  # rare enough to ask about each of them only now
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                new = [entry for entry in entries if _insert_new(connection, entry)]
                _insert(connection, (), spent_by_lease(new))

    def _connect(self) -> sqlite3.Connection:
        connection = self._connection = self._file.connect(
            "journal_mode = WAL",
            f"synchronous = {self._synchronous}",
            "wal_autocheckpoint = 0",  # see `checkpoints`
            "temp_store = MEMORY",
            "cache_size = -512",  # KiB: records go to the ends of few trees
            timeout=self._busy_timeout,
        )
        for statement in _ENTRIES:
            connection.execute(statement)
        return connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _translated(self, error: Exception) -> Exception:
        """A `StoreError` for what may pass; the error itself where an entry is at fault."""
        if not isinstance(error, sqlite3.Error) or isinstance(error, _FAULTS_OF_ENTRIES):
            return error
        return db_errors.fault(error, str(self._file.path))


def _insert(connection: sqlite3.Connection, entries: Sequence[Entry], spent: Sequence[Spent]) -> None:
    """Write the records of `entries`, and charge what they have `spent` together."""
    # Lists of plain values: sqlite3 looks for adapters of any other type, and the members of enums are.
    rows = to_builtins([entry.record for entry in entries])
    if spent:
        pairs = zip_longest(rows, spent)
        rows = [(*(record or _NO_RECORD), *(charge or _NO_SPENT)) for record, charge in pairs]
    start = 0
    while left := len(rows) - start:
        size = BLOCK if left >= BLOCK else min(left, MAX_ROWS)  # of few sizes, so that statements are at hand
        statement = _statement("entries" if spent else "usage", size)
        connection.execute(statement, tuple(chain.from_iterable(rows[start : start + size])))
        start += size


def _insert_new(connection: sqlite3.Connection, entry: Entry) -> bool:
    """Write one record, unless its request id is there already."""
    statement = f"{_statement('usage', 1)} ON CONFLICT (request_id) DO NOTHING"
    return connection.execute(statement, to_builtins(entry.record)).rowcount > 0


@cache
def _statement(table: str, rows: int) -> str:
    columns = _COLUMNS[table]
    row = f"({', '.join('?' * len(columns))})"
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([row] * rows)}"  # noqa: S608


def _resolve(done: asyncio.Future[None], fault: Exception | None) -> None:
    if done.done():
        return
    if fault is None:
        done.set_result(None)
    else:
        done.set_exception(fault)

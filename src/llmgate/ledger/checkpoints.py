"""Checkpoints of an SQLite database: what its write-ahead log has gathered is moved into the file itself.

SQLite does that by itself, within whichever commit finds a thousand pages in the log, and waits for the disk
several times meanwhile. Here a thread of its own does it, while commits go on.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

from ..errors import StoreError
from .sqlite_file import SqliteFile

log = logging.getLogger("llmgate.ledger")

EVERY = 1.0
"""Seconds between two looks at the log."""
LIMIT = 16 * 1024 * 1024
"""Bytes from which on the log is emptied. The first commit into an empty log waits for the disk once, so it
must not happen to one in a hundred."""
WAIT = 0.01
"""Seconds for which commits may be kept waiting by a reader that is in the way of the last step."""


class Checkpoints:
    """Keeps the log of `file` below `limit` bytes, more or less: looks `every` so many seconds, until `close`."""

    def __init__(self, file: SqliteFile, *, limit: int = LIMIT, every: float = EVERY) -> None:
        self._file = file
        self._limit = limit
        self._every = every
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="llmgate-checkpoints", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop. Whoever is the last to close the database empties its log."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        failing = False
        while not self._closing.wait(self._every):
            try:
                self._keep_small()
            except (sqlite3.Error, StoreError) as error:
                if not failing:
                    log.warning("%s cannot be emptied: %s", self._file.log, error)
                failing = True
            else:
                failing = False

    def _keep_small(self) -> None:
        if size_of(self._file.log) >= self._limit:
            with closing(self._file.connect(timeout=WAIT)) as connection:
                empty(connection)


def size_of(path: Path) -> int:
    """Bytes of a log; 0 before the first commit makes it."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def empty(connection: sqlite3.Connection) -> None:
    """Move what is in the log into the database, and start the log over unless readers are in the way."""
    # Nearly all of it is moved without keeping anybody waiting.
    _, logged, moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    if moved == logged:  # else somebody still reads what was there before, and would be waited for
        # What has come meanwhile is little, and commits wait for it. Without this, under a steady load there
        # is always a little more, and the log never starts over.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

"""Checkpoints of an SQLite database: what its write-ahead log has gathered is moved into the file itself.

SQLite does that by itself, within whichever commit finds a thousand pages in the log, and waits for the disk
several times meanwhile. Here a thread of its own does it, while commits go on.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from contextlib import closing

from ..errors import StoreError
from .sqlite_file import SqliteFile

log = logging.getLogger("llmgate.ledger")

INTERVAL_S = 1.0
"""Seconds between two looks at what was written."""
MAX_RECORDS = 1000
"""Written since the log was emptied last, after which it is emptied again: up to 30 MB. The first commit into an
empty log waits for the disk, so it must be far fewer than one in a hundred."""
MAX_WAIT_S = 0.01
"""Seconds for which commits may be kept waiting by a reader that is in the way of the last step."""
MAX_PASSES = 8
MAX_PAGES_LEFT = 64
"""Pages that may be left for the last step."""


class Checkpoints:
    """Empties the log of `file` after every so many `records`; looks `every` so many seconds, until `close`."""

    def __init__(self, file: SqliteFile, *, records: int = MAX_RECORDS, every: float = INTERVAL_S) -> None:
        self._file = file
        self._records = records
        self._every = every
        self.written = 0
        """How many records were written so far; counted by who writes them."""
        self._emptied = 0
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
            written = self.written
            if written - self._emptied < self._records:
                continue
            try:
                with closing(self._file.connect(timeout=MAX_WAIT_S)) as connection:
                    if empty(connection):
                        self._emptied = written
            except (sqlite3.Error, StoreError) as error:
                if not failing:
                    log.warning("%s: no checkpoint: %s", self._file.path, error)
                failing = True
            else:
                failing = False


def empty(connection: sqlite3.Connection) -> bool:
    """Move what is in the log into the database and start the log over; False if readers are in the way.

    Only the last step keeps commits waiting. Without it, under a steady load there is always a little more
    in the log than was moved, and it never starts over.
    """
    before = 0
    for _ in range(MAX_PASSES):
        _, logged, moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if moved < logged:  # somebody still reads what was there before, and would be waited for
            return False
        if logged - before <= MAX_PAGES_LEFT:
            break
        before = logged
    # Not TRUNCATE: giving the pages of the file back takes tens of milliseconds.
    (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
    return not busy

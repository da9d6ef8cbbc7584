"""The SQLite file that a gate was started on, and no other that has taken its place."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from ..errors import StoreError


class SqliteFile:
    """The file at `path` as it is now. Raises `StoreError` if there is none.

    What is written into a file that was removed is lost, and what is written into another goes into the
    wrong books; so whoever writes asks before that whether it is still the same.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._name = os.fspath(path)
        self._identity = self._look()

    def check(self) -> None:
        """Raises `StoreError` if the file is gone, or is not the one it was."""
        if self._look() != self._identity:
            raise StoreError(f"{self.path}: the database was replaced: restart the gate")

    def connect(self, *pragmas: str, timeout: float) -> sqlite3.Connection:
        """A connection without transactions of its own, waiting `timeout` seconds for locks of others."""
        self.check()
        connection = sqlite3.connect(self._name, isolation_level=None, timeout=timeout)
        try:
            for pragma in pragmas:
                connection.execute(f"PRAGMA {pragma}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _look(self) -> tuple[int, int]:
        try:
            status = os.stat(self._name)  # noqa: PTH116 - once for each commit, and a Path takes its time
        except OSError as error:
            raise StoreError(f"{self.path}: the database is gone: {error.strerror}") from error
        return status.st_dev, status.st_ino

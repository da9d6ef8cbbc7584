"""A copy of a living SQLite store, made by SQLite itself: whole, and as of one moment."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from ..errors import StoreError
from .engine import missing, parse, place


async def backup(url: str, target: Path) -> None:
    """Copy the store at `url` to the new file `target`, readable for its owner alone, while the gate runs.

    Raises `StoreError` if `target` is there already, the copy cannot be made or is not sound, or the store
    is on PostgreSQL, which brings its own tools.
    """
    source = parse(url)
    if source.get_backend_name() != "sqlite":
        raise StoreError(
            f"store ({place(source)}): PostgreSQL brings its own tool: pg_dump --format=custom --file={target}"
        )
    if missing(source):
        raise StoreError(f"store ({place(source)}): there is no database to copy")
    await asyncio.to_thread(_copy, Path(source.database or ""), target)


def _copy(source: Path, target: Path) -> None:
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise StoreError(f"backup: {target} cannot be made: {error.strerror}") from error
    try:
        _write(source, target)
    except BaseException as error:
        with suppress(OSError):
            target.unlink()
        if isinstance(error, sqlite3.Error):
            raise StoreError(f"backup: {source} cannot be copied to {target}: {error}") from error
        raise


def _write(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as original, closing(sqlite3.connect(target)) as copy:
        original.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, with nothing beside it
        (found,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise StoreError(f"backup: the copy is damaged, as the store itself may be: {found}")

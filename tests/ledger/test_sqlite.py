"""What is SQLite's own in writing groups; test_committers.py has what holds on any database."""

import asyncio
import sqlite3
import threading
from pathlib import Path
from shutil import copy

import pytest
from stores import migrated_file

from llmgate.errors import StoreError
from llmgate.ledger.model import Entry
from llmgate.ledger.sqlite import SqliteCommitter

from .ledgers import record

__all__ = ["migrated_file"]


@pytest.fixture
def file(migrated_file: Path, tmp_path: Path) -> Path:
    return Path(copy(migrated_file, tmp_path / "gate.db"))


def replace(file: Path, by: Path) -> None:
    file.rename(file.with_name("old.db"))
    copy(by, file)


def written(file: Path) -> set[str]:
    with sqlite3.connect(file) as db:
        return {name for (name,) in db.execute("SELECT request_id FROM usage")}


async def test_the_event_loop_does_not_wait_for_a_locked_file(file: Path) -> None:
    """Nor is anything lost: the group that failed is the caller's to write again."""
    committer = SqliteCommitter(file, busy_timeout=0.01)
    locked = sqlite3.connect(file, isolation_level=None)
    locked.execute("BEGIN IMMEDIATE")
    turned = asyncio.Event()
    asyncio.get_running_loop().call_soon(turned.set)
    with pytest.raises(StoreError):
        await committer.commit([Entry(record("a"), ())])
    assert turned.is_set()
    locked.execute("ROLLBACK")
    locked.close()
    await committer.commit([Entry(record("a"), ())])
    await committer.aclose()
    assert written(file) == {"a"}


async def test_a_file_that_was_replaced_is_not_written(file: Path, migrated_file: Path) -> None:
    """What goes into it would be lost, or in another gate's ledger."""
    committer = SqliteCommitter(file)
    await committer.commit([Entry(record("a"), ())])
    replace(file, migrated_file)
    with pytest.raises(StoreError):
        await committer.commit([Entry(record("b"), ())])
    await committer.aclose()
    assert "b" not in written(file)


async def test_its_thread_ends_with_it(file: Path) -> None:
    committer = SqliteCommitter(file)
    await committer.commit([Entry(record("a"), ())])
    await committer.aclose()
    assert "llmgate-ledger" not in {thread.name for thread in threading.enumerate()}

"""SQLite's write-ahead log: commits do not wait for it to be emptied, and it stays small all the same."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from stores import Clock, files_in

from llmgate.ledger.checkpoints import Checkpoints, empty
from llmgate.ledger.model import Entry
from llmgate.ledger.sqlite import SqliteCommitter
from llmgate.ledger.sqlite_file import SqliteFile
from llmgate.store import Store

from .ledgers import open_ledger, record, spend, until

GROUP = 20
KILOBYTE = 1024


@pytest.fixture
def file(sqlite_url: str) -> SqliteFile:
    return SqliteFile(Path(sqlite_url.removeprefix("sqlite:///")))


@pytest.fixture
async def committer(file: SqliteFile) -> AsyncIterator[SqliteCommitter]:
    opened = SqliteCommitter(file.path)
    yield opened
    await opened.aclose()


def size_of(path: Path) -> int:
    return path.stat().st_size


def log_of(file: SqliteFile) -> Path:
    return Path(f"{file.path}-wal")


def group(number: int, *, size: int = KILOBYTE) -> list[Entry]:
    return [Entry(record(f"{number}-{each}", 0, model="m" * size)) for each in range(GROUP)]


async def test_a_commit_leaves_the_log_alone(file: SqliteFile, committer: SqliteCommitter) -> None:
    """However many pages are in it: left to itself, SQLite empties it within a commit from a thousand on."""
    before = size_of(file.path)
    for number in range(5):
        await committer.commit(group(number, size=64 * KILOBYTE))
    assert size_of(log_of(file)) > 6 * KILOBYTE * KILOBYTE
    assert size_of(file.path) == before


async def test_the_log_stays_small_under_a_steady_load(file: SqliteFile, committer: SqliteCommitter) -> None:
    """Something is committed all the time while it is emptied, and nothing of that is lost."""
    await committer.commit(group(0))
    with closing(file.connect(timeout=1.0)) as connection:
        for number in range(1, 100):
            committed = committer.commit(group(number))
            empty(connection)
            await committed
        found = connection.execute("SELECT count(*) FROM usage").fetchone()
    assert found == (100 * GROUP,)
    assert size_of(log_of(file)) * 5 < 100 * GROUP * KILOBYTE


async def test_a_reader_in_the_way_delays_nobody(file: SqliteFile, committer: SqliteCommitter) -> None:
    """What it reads stays where it is, commits go on, and once it has ended the log starts over."""
    await committer.commit(group(1))
    with closing(file.connect(timeout=0.0)) as connection, closing(file.connect(timeout=0.0)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM usage").fetchone()
        await committer.commit(group(2))
        assert not empty(connection)
        await committer.commit(group(3))
        grown = size_of(log_of(file))
        assert reader.execute("SELECT count(*) FROM usage").fetchone() == (GROUP,)
        reader.execute("COMMIT")
        assert empty(connection)
        await committer.commit(group(4))
        assert size_of(log_of(file)) == grown
        assert connection.execute("SELECT count(*) FROM usage").fetchone() == (4 * GROUP,)


async def test_the_log_is_emptied_in_the_background_after_so_many_records(
    file: SqliteFile, committer: SqliteCommitter
) -> None:
    """And not before."""
    before = size_of(file.path)
    await committer.commit(group(1))
    checkpoints = Checkpoints(file, records=GROUP + 1, every=0.001)
    checkpoints.written = GROUP
    checkpoints.close()
    assert size_of(file.path) == before
    checkpoints = Checkpoints(file, records=GROUP, every=0.001)
    checkpoints.written = GROUP
    await until(lambda: size_of(file.path) > before)
    checkpoints.close()


async def test_a_checkpoint_that_fails_is_told_of_once_and_made_up_for(
    file: SqliteFile, committer: SqliteCommitter, caplog: pytest.LogCaptureFixture
) -> None:
    """Another database in the place of ours is not opened, and all goes on when ours is back."""
    before = size_of(file.path)
    await committer.commit(group(1))
    away = file.path.with_suffix(".away")
    file.path.rename(away)
    checkpoints = Checkpoints(file, records=GROUP, every=0.001)
    checkpoints.written = GROUP
    await until(lambda: "no checkpoint" in caplog.text)
    away.rename(file.path)
    await until(lambda: size_of(file.path) > before)
    checkpoints.close()
    assert caplog.text.count("no checkpoint") == 1


async def test_closing_leaves_no_log_behind(sqlite_url: str, tmp_path: Path, clock: Clock) -> None:
    """All of it is in the database then: one file is the whole store."""
    async with (
        Store.open(sqlite_url, clock=clock) as store,
        open_ledger(store, tmp_path / "workers") as ledger,
    ):
        await spend(ledger, "a", None, 30)
        path = Path(store.url.database or "")
        assert size_of(Path(f"{path}-wal")) > 0
    assert f"{path.name}-wal" not in files_in(path.parent)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT request_id FROM usage").fetchall() == [("a",)]

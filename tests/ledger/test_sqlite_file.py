"""What is written goes into the file that the gate was started on, or nowhere."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from llmgate.errors import StoreError
from llmgate.ledger.sqlite_file import SqliteFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "gate.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE things (name)")
    return path


def test_a_connection_has_what_was_asked_for(path: Path) -> None:
    with closing(SqliteFile(path).connect("cache_size = -77", timeout=0.1)) as db:
        assert db.execute("PRAGMA cache_size").fetchone() == (-77,)
        db.execute("INSERT INTO things VALUES ('a')")
        assert not db.in_transaction, "no transactions of the driver's own"


def test_a_file_that_was_removed_is_not_written(path: Path) -> None:
    file = SqliteFile(path)
    path.unlink()
    with pytest.raises(StoreError, match="the database is gone"):
        file.connect(timeout=0.1)
    assert not path.exists(), "nor made anew, empty"


def test_a_file_that_took_its_place_is_not_written(path: Path, tmp_path: Path) -> None:
    """As when a backup is copied over it: its records would be in other books."""
    file = SqliteFile(path)
    file.check()
    other = tmp_path / "other.db"
    other.write_bytes(path.read_bytes())
    other.replace(path)
    with pytest.raises(StoreError, match="was replaced: restart the gate"):
        file.check()


def test_there_has_to_be_a_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        SqliteFile(tmp_path / "missing.db")

"""An SQLite store looked at from outside."""

import sqlite3
from pathlib import Path
from shutil import copy

from llmgate.cli.store_file import empty_or_foreign, file_of, unusable
from llmgate.config import SecretUrl, Store


def store(path: Path, **more: Path) -> Store:
    return Store(url=SecretUrl(f"sqlite:///{path}"), **more)


def test_a_servers_store_has_no_file() -> None:
    assert file_of(Store(url=SecretUrl("postgresql://db/gate"))) is None
    assert unusable(Store(url=SecretUrl("postgresql://db/gate"))) is None


def test_a_folder_that_is_not_there_is_told_and_a_file_that_is_not_there_is_fine(tmp_path: Path) -> None:
    assert unusable(store(tmp_path / "gate.db")) is None
    assert "make it, or name another" in (unusable(store(tmp_path / "no" / "gate.db")) or "")
    assert "is a folder" in (unusable(store(tmp_path)) or "")
    journals = store(tmp_path / "gate.db", journals=tmp_path / "no" / "journals")
    assert (unusable(journals) or "").startswith("store.journals: ")


def test_a_store_of_the_gate_and_what_is_no_database_pass(migrated_file: Path, tmp_path: Path) -> None:
    """The latter is told by whoever opens it."""
    copy(migrated_file, tmp_path / "gate.db")
    assert empty_or_foreign(store(tmp_path / "gate.db")) == (None, None)
    (tmp_path / "text.db").write_bytes(b"this is not SQLite" * 100)
    assert empty_or_foreign(store(tmp_path / "text.db")) == (None, None)
    assert empty_or_foreign(store(tmp_path / "none.db")) == (None, None)


def test_tables_of_another_program_are_a_problem_and_no_bytes_a_warning(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "songs.db") as db:
        db.execute("CREATE TABLE songs (a)")
    problem, warning = empty_or_foreign(store(tmp_path / "songs.db"))
    assert "another program's (it has songs)" in (problem or "") and warning is None
    (tmp_path / "empty.db").touch()
    problem, warning = empty_or_foreign(store(tmp_path / "empty.db"))
    assert problem is None and "is empty" in (warning or "")

"""The stamp by which the hot path knows that what it remembers still holds."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmgate.store.change_stamp import ChangeStamp, FileChangeStamp, LocalChangeStamp


@pytest.fixture(params=["local", "file"])
def changes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ChangeStamp]:
    if request.param == "local":
        yield LocalChangeStamp()
        return
    in_file = FileChangeStamp(tmp_path / "gate.db.changes")
    yield in_file
    in_file.close()


def test_the_stamp_stands_still_until_it_is_bumped(changes: ChangeStamp) -> None:
    before = changes.current()
    assert changes.current() == before
    changes.bump()
    assert changes.current() != before


def test_no_two_changes_have_the_same_stamp(changes: ChangeStamp) -> None:
    seen = {changes.current()}
    for _ in range(100):
        changes.bump()
        seen.add(changes.current())
    assert len(seen) == 101


def test_a_bump_in_another_process_is_seen_here(tmp_path: Path) -> None:
    path = tmp_path / "gate.db.changes"
    here = FileChangeStamp(path)
    before = here.current()
    code = "import sys, pathlib; from llmgate.store.change_stamp import FileChangeStamp as F"
    code += "; F(pathlib.Path(sys.argv[1])).bump()"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    assert here.current() != before
    here.close()


def test_the_stamp_outlives_the_processes_that_map_it(tmp_path: Path) -> None:
    first = FileChangeStamp(tmp_path / "changes")
    first.bump()
    stamp = first.current()
    first.close()
    second = FileChangeStamp(tmp_path / "changes")
    assert second.current() == stamp
    second.close()


def test_only_the_owner_may_touch_the_file(tmp_path: Path) -> None:
    """Whoever can write it could make the gate forget everything, over and over."""
    FileChangeStamp(tmp_path / "changes").close()
    assert (tmp_path / "changes").stat().st_mode & 0o777 == 0o600

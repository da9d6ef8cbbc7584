"""Sets of revisions, by the names of their files."""

from pathlib import Path

import pytest

from llmgate.errors import StoreError
from llmgate.store import CORE, Migrations


@pytest.fixture
def trees(tmp_path: Path) -> Migrations:
    for name in ("0002_more.py", "0001_first.py", "README.md", "notes.py"):
        (tmp_path / name).touch()
    return Migrations("trees", tmp_path)


def test_revisions_are_files_with_a_number_in_order(trees: Migrations) -> None:
    assert trees.revisions() == ["0001", "0002"]
    assert trees.version_table == "alembic_version_trees"


@pytest.mark.parametrize(("current", "left"), [(None, ["0001", "0002"]), ("0001", ["0002"]), ("0002", [])])
def test_what_is_left_follows_from_where_the_database_is(
    trees: Migrations, current: str | None, left: list[str]
) -> None:
    assert trees.after(current) == left


def test_a_database_of_a_newer_gate_is_none_of_ours(trees: Migrations) -> None:
    with pytest.raises(StoreError, match=r"revision 9999 of trees.*use the newer llmgate"):
        trees.after("9999")


def test_the_cores_revisions_have_no_gap() -> None:
    numbers = [int(each) for each in CORE.revisions()]
    assert numbers == list(range(1, len(numbers) + 1))

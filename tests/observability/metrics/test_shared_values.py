"""Rows of numbers that the processes of a host share, and that outlive them."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgate.observability.metrics.shared_values import Key, SharedValues

KEY = ("llmgate_requests", "chat", "2xx")
SPAWN = multiprocessing.get_context("spawn")


def shown(shared_values: SharedValues) -> dict[Key, list[tuple[list[float], bool]]]:
    """Every row that `shared_values` can see, by key: its numbers, and whether its process lives."""
    rows: dict[Key, list[tuple[list[float], bool]]] = {}
    for key, values, lives in shared_values.all():
        rows.setdefault(key, []).append((list(values), lives))
    return rows


def count_and_wait(folder: str, ready: Connection) -> None:
    SharedValues.open(Path(folder)).row(KEY)[0] += 5
    ready.send("counted")
    signal.pause()


@pytest.fixture
def neighbour(tmp_path: Path) -> Iterator[int]:
    """The pid of another process that has counted 5 in the same folder."""
    here, there = SPAWN.Pipe()
    process = SPAWN.Process(target=count_and_wait, args=(str(tmp_path), there))
    process.start()
    assert here.recv() == "counted"
    assert process.pid is not None
    yield process.pid
    process.kill()
    process.join()


@pytest.mark.parametrize("shared", [False, True])
def test_a_row_begins_with_zeros_and_is_the_same_every_time(tmp_path: Path, shared: bool) -> None:
    shared_values = SharedValues.open(tmp_path if shared else None)
    shared_values.row(KEY, 3)[1] += 2
    assert list(shared_values.row(KEY, 3)) == [0, 2, 0]
    shared_values.close()


def test_a_process_on_its_own_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    SharedValues.open(None).row(KEY)[0] += 1
    assert list(tmp_path.iterdir()) == []


def test_the_rows_of_another_process_are_seen(tmp_path: Path, neighbour: int) -> None:
    shared_values = SharedValues.open(tmp_path)
    shared_values.row(KEY)[0] += 1
    assert shown(shared_values) == {KEY: [([1.0], True), ([5.0], True)]}
    shared_values.close()


def test_what_a_killed_process_counted_is_not_lost(tmp_path: Path, neighbour: int) -> None:
    shared_values = SharedValues.open(tmp_path)
    os.kill(neighbour, signal.SIGKILL)
    os.waitpid(neighbour, 0)
    assert shown(shared_values) == {KEY: [([5.0], False)]}
    shared_values.close()


def test_a_new_process_counts_on_from_where_a_dead_one_stopped(tmp_path: Path, neighbour: int) -> None:
    """So a scrape never sees a counter fall, and files do not pile up."""
    os.kill(neighbour, signal.SIGKILL)
    os.waitpid(neighbour, 0)
    shared_values = SharedValues.open(tmp_path)
    shared_values.row(KEY)[0] += 1
    assert shown(shared_values) == {KEY: [([6.0], True)]}
    assert [path.name for path in tmp_path.iterdir()] == ["0.shared_values"]
    shared_values.close()


def test_a_row_cut_off_by_death_does_not_count(tmp_path: Path) -> None:
    """The header of a row is written last."""
    shared_values = SharedValues.open(tmp_path)
    shared_values.row(KEY)[0] += 1
    shared_values.close()
    content = bytearray((tmp_path / "0.shared_values").read_bytes())
    end = content.index(b"]") + 200
    content[end : end + 8] = b"name but"
    (tmp_path / "0.shared_values").write_bytes(content)
    assert shown(SharedValues.open(tmp_path)) == {KEY: [([1.0], True)]}


def test_only_the_owner_may_read_the_file(tmp_path: Path) -> None:
    SharedValues.open(tmp_path).close()
    assert (tmp_path / "0.shared_values").stat().st_mode & 0o777 == 0o600


@given(
    rows=st.dictionaries(st.tuples(st.text(), st.text()), st.lists(st.floats(allow_nan=False), min_size=1))
)
def test_whatever_is_counted_under_whatever_name_is_read_by_the_next_process(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[Key, list[float]]
) -> None:
    folder = tmp_path_factory.mktemp("shared_values")
    first = SharedValues.open(folder)
    for key, numbers in rows.items():
        first.row(key, len(numbers))[:] = memoryview(bytes(8 * len(numbers))).cast("d")
        for index, number in enumerate(numbers):
            first.row(key, len(numbers))[index] = number
    first.close()
    second = SharedValues.open(folder)
    assert shown(second) == {key: [(numbers, True)] for key, numbers in rows.items()}
    second.close()


def test_rows_handed_out_before_the_file_grew_still_count(tmp_path: Path) -> None:
    writer = SharedValues.open(tmp_path)
    first = writer.row(KEY)
    for number in range(2000):
        writer.row(("llmgate_tokens", f"model {number}"), 16)[0] = number
    first[0] += 7
    reader = SharedValues.open(tmp_path)
    rows = shown(reader)
    assert rows[KEY] == [([7.0], True)]
    assert rows["llmgate_tokens", "model 1999"][0][0][0] == 1999
    assert len(rows) == 2001
    writer.close()
    reader.close()

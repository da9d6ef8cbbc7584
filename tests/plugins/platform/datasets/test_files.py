"""Data sets on the disk: whole under the hash of their contents, or not there."""

from pathlib import Path

import pytest

from llmgate_platform.datasets import files as module
from llmgate_platform.datasets.examples import MIN_TO_SPLIT, BadExample
from llmgate_platform.datasets.files import Files

from ..gate import ROWS, jsonl


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "datasets")


def source(folder: Path, content: bytes, name: str = "source.jsonl") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


async def test_the_same_contents_are_stored_once(files: Files, tmp_path: Path) -> None:
    first = await files.store(source(tmp_path, jsonl(*ROWS)))
    again = await files.store(source(tmp_path, b"\n" + jsonl(*ROWS)))
    assert again == first
    assert [path.name for path in (tmp_path / "datasets").iterdir()] == [first.folder]
    assert files.has(first.folder)
    assert not files.has("another")


async def test_what_is_held_out_is_not_trained_on(files: Files, tmp_path: Path) -> None:
    stored = await files.store(source(tmp_path, jsonl(*ROWS)))
    trained = files.train(stored.folder).read_bytes().splitlines()
    kept = files.test(stored.folder, len(ROWS))
    assert (len(trained), len(kept)) == (stored.examples, stored.held_out)
    assert sorted([*trained, *kept]) == sorted(jsonl(*ROWS).splitlines())
    assert files.test(stored.folder, 1) == kept[:1]
    assert files.test("another", 1) == []


async def test_a_small_one_is_not_split_and_a_given_part_is_kept(files: Files, tmp_path: Path) -> None:
    small = await files.store(source(tmp_path, jsonl(*ROWS[: MIN_TO_SPLIT - 1])))
    assert (small.examples, small.held_out) == (MIN_TO_SPLIT - 1, 0)
    test = source(tmp_path, jsonl({"text": "a b"}), "test.jsonl")
    given = await files.store(source(tmp_path, jsonl(*ROWS)), test)
    assert (given.examples, given.held_out) == (len(ROWS), 1)


async def test_of_a_bad_one_nothing_is_left(files: Files, tmp_path: Path) -> None:
    with pytest.raises(BadExample, match=r"^line 2: "):
        await files.store(source(tmp_path, jsonl({"text": "a"}, {})))
    assert list((tmp_path / "datasets").iterdir()) == []


async def test_a_process_that_cannot_make_one_is_quoted(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        module, "HUB", source(tmp_path, b"import sys; sys.exit(sys.argv[1] + ' is not there')")
    )
    with pytest.raises(OSError, match=r"^owner/name is not there$"):
        await files.store_from_hub("owner/name")
    assert list((tmp_path / "datasets").iterdir()) == []

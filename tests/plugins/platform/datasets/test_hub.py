"""A data set of the hub as JSONL, by a stand-in for the library that loads it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmgate_platform.datasets.files import HUB

LIBRARY = """
class Part:
    def __init__(self, text):
        self.text = text

    def to_json(self, path, lines, force_ascii):
        assert lines and not force_ascii
        path.write_text(self.text)


def load_dataset(name):
    return {part: Part(f"{name} {part}") for part in %r}
"""


def load(folder: Path, library: str) -> subprocess.CompletedProcess[str]:
    (folder / "datasets.py").write_text(library)
    return subprocess.run(
        [sys.executable, str(HUB), "owner/name", str(folder)],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("parts", "held_out"),
    [
        (["train"], None),
        (["train", "validation"], "owner/name validation"),
        (["train", "test", "validation"], "owner/name test"),
    ],
)
def test_a_part_to_test_with_is_held_out(tmp_path: Path, parts: list[str], held_out: str | None) -> None:
    done = load(tmp_path, LIBRARY % parts)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "train.jsonl").read_text() == "owner/name train"
    test = tmp_path / "test.jsonl"
    assert (test.read_text() if test.exists() else None) == held_out


def test_without_the_library_it_says_what_is_missing(tmp_path: Path) -> None:
    done = load(tmp_path, "raise ModuleNotFoundError(name='datasets')")
    assert (done.returncode, done.stderr.strip()) == (1, "the package datasets is not installed")

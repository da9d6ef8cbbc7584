"""The coding data set that is made of the standard library."""

import ast
import json
from pathlib import Path

import pytest

from llmgate_platform.datasets.examples import read_examples
from llmgate_platform.datasets.stdlib import MAX_CHARS, examples, functions, main, modules

SOURCE = '''\
class A:
    @property
    def first(self):
        """Doc."""
        if self:

            return 1

    async def second(self): """Doc."""; return 2
    def third(self):
        return 3
    def fourth(self):
        """Only a doc."""

def fifth(a,
          b=1):
    """Doc
    of two lines."""
    return a
'''


def test_a_documented_function_is_what_stands_before_its_body_and_its_body() -> None:
    assert list(functions(SOURCE, ast.parse(SOURCE))) == [
        ('def fifth(a,\n          b=1):\n    """Doc\n    of two lines."""\n', "    return a\n"),
        ('def first(self):\n    """Doc."""\n', "    if self:\n\n        return 1\n"),
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stdlib")
    main(folder)
    return folder


def test_the_users_own_python_makes_thousands_of_examples(made: Path) -> None:
    train, test = (
        [json.loads(line) for line in read_examples((made / name).read_bytes().splitlines())]
        for name in ("train.jsonl", "test.jsonl")
    )
    assert len(train) > 2500
    assert len(test) > 300
    assert all(len(row["prompt"]) + len(row["completion"]) <= MAX_CHARS for row in train + test)
    assert not {row["module"] for row in train} & {row["module"] for row in test}


def test_they_come_in_the_same_order_everywhere(tmp_path: Path) -> None:
    """By hash, not by the order in which modules are found."""
    for name in ("b.py", "a.py"):
        (tmp_path / name).write_text(SOURCE.replace("first", f"first_{name[0]}"))
    once = examples(tmp_path)
    (tmp_path / "a.py").rename(tmp_path / "c.py")
    assert [row["prompt"] for row in examples(tmp_path)[0]] == [row["prompt"] for row in once[0]]


def test_modules_that_are_there_to_be_broken_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("def (")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "good.py").write_text(SOURCE)
    assert [name for name, _ in modules(tmp_path)] == ["bad"]
    assert examples(tmp_path) == ([], [])

"""BLEU and ROUGE-L, in the process of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmgate_platform.evaluation.measure import SCORES, Measures, Scorer


async def test_bleu_and_rouge_are_those_of_the_libraries() -> None:
    """Of what is equal, of what has nothing in common, and of one pair by hand: 3 of 4 words in common."""
    pytest.importorskip("sacrebleu")
    pytest.importorskip("rouge_score")

    async def of(answer: str, reference: str) -> tuple[float | None, float | None]:
        found = Measures()
        await Scorer().compare([answer], [reference], found)
        return found.bleu_score, found.rouge_score

    assert await of("a b c d e", "a b c d e") == (1.0, 1.0)
    assert await of("a b c d e", "v w x y z") == (0.0, 0.0)
    assert (await of("a b c x", "a b c d"))[1] == 0.75


def test_a_package_that_is_missing_is_told_not_raised(tmp_path: Path) -> None:
    (tmp_path / "sacrebleu.py").write_text("raise ModuleNotFoundError(name='sacrebleu')")
    done = subprocess.run(
        [sys.executable, str(SCORES)],
        input=json.dumps([["a"], ["b"]]),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        check=True,
    )
    assert json.loads(done.stdout) == {"missing": "sacrebleu"}

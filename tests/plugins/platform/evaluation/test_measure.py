"""What an evaluation finds, and what it says where it finds nothing."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgate.errors import extra_remedy
from llmgate_platform.evaluation.measure import distinct_2

from ..gate import PLUGIN, Document, OpenPlatform, PlatformGate


def scored_by(*evaluator: str) -> Any:
    def change(document: Document) -> None:
        document["plugins"][PLUGIN]["evaluator"] = list(evaluator)

    return change


async def test_the_operators_own_command_scores(open_platform: OpenPlatform, tmp_path: Path) -> None:
    script = "import json, sys; print(sum('return' in json.loads(line)['answer'] for line in sys.stdin) / 2)"
    async with open_platform(scored_by(sys.executable, "-c", script)) as gate:
        body = (await (await gate.register()).post("/models/1/evaluate", {"samples": 2})).json()
        assert body["score"] == 1.0


@pytest.mark.parametrize("command", [["/no/such/command"], [sys.executable, "-c", "print('no number')"]])
async def test_a_command_that_does_not_score_is_told(open_platform: OpenPlatform, command: list[str]) -> None:
    async with open_platform(scored_by(*command)) as gate:
        body = (await (await gate.register()).post("/models/1/evaluate", {"samples": 1})).json()
        assert body["score"] is None
        assert "score: the evaluator did not print a number" in body["notes"]


async def test_without_the_extra_the_scores_that_need_it_are_null(
    platform: PlatformGate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sacrebleu.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'sacrebleu'\", name='sacrebleu')"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    body = (await (await platform.register()).post("/models/1/evaluate", {"samples": 1})).json()
    assert (body["metrics"]["bleu_score"], body["metrics"]["rouge_score"]) == (None, None)
    assert body["metrics"]["perplexity"] is not None
    assert body["notes"] == [
        f"bleu_score and rouge_score: sacrebleu is not installed: {extra_remedy('evaluation')}"
    ]


def test_distinct_2() -> None:
    assert distinct_2(["a b a b", "a b"]) == 0.5  # ab ba ab ab
    assert distinct_2(["a", ""]) == 0.0


@given(st.lists(st.text()))
def test_distinct_2_is_a_part_of_all(answers: list[str]) -> None:
    assert 0.0 <= distinct_2(answers) <= 1.0
    assert json.dumps(distinct_2(answers))

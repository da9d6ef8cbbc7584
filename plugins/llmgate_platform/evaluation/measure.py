"""One evaluation: the answers, their scores, and what they mean. The definitions are fixed, so that numbers compare.

- perplexity: exp of the mean negative log-probability of the references' tokens behind their prompts, over all tokens
- bleu_score, rouge_score: see `scores`
- response_diversity: distinct-2, different pairs of words among all pairs of all answers
- avg_response_length: tokens of an answer, as the engine counts them
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmgate.plugin.api import extra_remedy

from ..datasets.examples import prompt_and_reference
from .probes import NotScored

if TYPE_CHECKING:
    from .probes import Engine

SCORES = Path(__file__).with_name("scores.py")
AT_ONCE = 2
"""Samples that are measured at once: an evaluation must not crowd out who uses the model."""
EVALUATOR_TIMEOUT_S = 600.0

Answer = Callable[[str], Awaitable[tuple[str, int]]]
"""What a model answers to a prompt, and of how many tokens that is."""


@dataclass(slots=True)
class Measures:
    """What was found; None where it could not be, and `notes` say why."""

    perplexity: float | None = None
    bleu_score: float | None = None
    rouge_score: float | None = None
    response_diversity: float | None = None
    avg_response_length: float | None = None
    score: float | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Scorer:
    """Runs the processes that score. `pythons` are tried in their order; `evaluator` is the operator's own command."""

    pythons: Sequence[str] = (sys.executable,)
    evaluator: Sequence[str] = ()

    async def compare(self, answers: list[str], references: list[str], found: Measures) -> None:
        """Fill in BLEU and ROUGE-L."""
        told: dict[str, Any] = {}
        for python in self.pythons:
            told = json.loads(await _run([python, str(SCORES)], json.dumps([answers, references])) or "{}")
            if "bleu_score" in told:
                found.bleu_score, found.rouge_score = told["bleu_score"], told["rouge_score"]
                return
        missing = told.get("missing", "a package")
        found.notes.append(
            f"bleu_score and rouge_score: {missing} is not installed: {extra_remedy('evaluation')}"
        )

    async def judge(self, rows: list[dict[str, str]], found: Measures) -> None:
        """Let the operator's own command score the answers."""
        if not self.evaluator:
            return
        try:
            printed = await _run(self.evaluator, "".join(json.dumps(row) + "\n" for row in rows))
            found.score = float(printed)
        except (OSError, ValueError, TimeoutError):
            found.notes.append("score: the evaluator did not print a number")


async def measure(
    lines: Sequence[bytes], answer: Answer, engine: Engine, scorer: Scorer, done: Callable[[int], None]
) -> Measures:
    """Evaluate with `lines`, examples of a data set; `done` is told how many are. Raises `Refusal`."""
    pairs = [prompt_and_reference(line) for line in lines]
    found = Measures()
    free, finished = asyncio.Semaphore(AT_ONCE), 0

    async def one(prompt: str, reference: str) -> tuple[str, int, list[float] | NotScored]:
        nonlocal finished
        async with free:
            text, tokens = await answer(prompt)
            try:
                scored: list[float] | NotScored = await engine.logprobs(prompt, reference)
            except NotScored as error:
                scored = error
            finished += 1
            done(finished)
            return text, tokens, scored

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(*pair)) for pair in pairs]
    except* Exception as errors:
        raise errors.exceptions[0] from None
    results = [task.result() for task in tasks]
    answers = [text for text, _, _ in results]
    references = [reference for _, reference in pairs]
    found.perplexity = _perplexity([scored for _, _, scored in results], found)
    found.response_diversity = distinct_2(answers)
    found.avg_response_length = round(sum(tokens for _, tokens, _ in results) / len(results), 2)
    await scorer.compare(answers, references, found)
    rows = [
        {"prompt": prompt, "reference": reference, "answer": text}
        for (prompt, reference), text in zip(pairs, answers, strict=True)
    ]
    await scorer.judge(rows, found)
    return found


def distinct_2(answers: Sequence[str]) -> float:
    """Different pairs of neighbouring words, as a part of all of them; 0 where there is none."""
    words = [answer.split() for answer in answers]
    pairs = [pair for each in words for pair in pairwise(each)]
    return round(len(set(pairs)) / len(pairs), 4) if pairs else 0.0


def _perplexity(scored: Sequence[list[float] | NotScored], found: Measures) -> float | None:
    refused = next((each for each in scored if isinstance(each, NotScored)), None)
    if refused is not None:
        found.notes.append(str(refused))
        return None
    values = [value for each in scored if not isinstance(each, NotScored) for value in each]
    if not values:
        found.notes.append("perplexity: the references have no tokens")
        return None
    with contextlib.suppress(OverflowError):
        return round(math.exp(-sum(values) / len(values)), 4)
    return None


async def _run(command: Sequence[str], text: str) -> str:
    child = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(EVALUATOR_TIMEOUT_S):
            stdout, _ = await child.communicate(text.encode())
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
    return stdout.decode(errors="replace").strip()

"""BLEU and ROUGE-L, by the libraries that the field compares with, in a process that ends.

    python scores.py < [ANSWERS, REFERENCES]     both lists of text, as JSON

prints {"bleu_score": ..., "rouge_score": ...}, or {"missing": PACKAGE}. Nothing of llmgate in it: the gate never
holds the 60 MB that the libraries take.
"""

from __future__ import annotations

import json
import sys


def scores(answers: list[str], references: list[str]) -> dict[str, float]:
    """sacrebleu's corpus BLEU as a fraction, and the mean F1 of ROUGE-L without a stemmer. Raises `ImportError`."""
    import sacrebleu  # noqa: PLC0415 - what is missing is told, not raised
    from rouge_score.rouge_scorer import RougeScorer  # noqa: PLC0415

    rouge = RougeScorer(["rougeL"])
    found = [
        rouge.score(reference, answer)["rougeL"].fmeasure
        for answer, reference in zip(answers, references, strict=True)
    ]
    return {
        "bleu_score": round(sacrebleu.corpus_bleu(answers, [references]).score / 100, 4),
        "rouge_score": round(sum(found) / len(found), 4),
    }


def main() -> None:
    """Read, compute, print."""
    try:
        found: dict[str, object] = {**scores(*json.load(sys.stdin))}
    except ImportError as error:
        found = {"missing": error.name}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()

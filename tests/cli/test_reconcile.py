from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from cli.conftest import Cli, backend

METRICS = "llamacpp:prompt_tokens_total 5\nllamacpp:prompt_tokens_cached_total 1\nllamacpp:tokens_predicted_total {}\n"


def counting(*counts: int) -> AbstractContextManager[str]:
    """The URL of a server whose metrics tell of the next of `counts` each time."""
    left = iter(counts)

    def answer(asked: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        return 200, METRICS.format(next(left)).encode() if asked.path == "/metrics" else b""

    return backend(answer)


def test_reconcile_shows_both_sides_and_the_difference(
    llmgate: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmgate.observability.reconcile.SETTLE_FOR", 0.0)
    with counting(7, 10) as url:
        file = folder / "gate.toml"
        file.write_text(file.read_text().replace("http://127.0.0.1:9", url))
        rows = llmgate.json("reconcile", "--window", "0.001")
    assert rows == [
        {"upstream": "local", "direction": "input", "backend": 0, "ledger": 0, "drift": 0},
        {"upstream": "local", "direction": "output", "backend": 3, "ledger": 0, "drift": 3},
    ]


def test_an_upstream_that_is_not_there_is_named_with_those_that_are(llmgate: Cli) -> None:
    said = llmgate("reconcile", "--upstream", "vlm", code=1).stderr
    assert 'no upstream "vlm"' in said
    assert "local" in said


def test_a_backend_that_does_not_answer_is_a_refusal(llmgate: Cli) -> None:
    assert "http://127.0.0.1:9/metrics" in llmgate("reconcile", "--window", "0.001", code=1).stderr

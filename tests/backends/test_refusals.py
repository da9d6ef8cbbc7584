"""Errors that say that a prompt is too long, as real backends write them."""

from __future__ import annotations

import pytest
from usage.captures import load

from llmgate.backends.refusals import is_too_long


@pytest.mark.parametrize("backend", ["llama_server", "llama_cpp", "vllm/main"])
def test_a_prompt_that_is_too_long_for_a_real_backend(backend: str) -> None:
    capture = load(f"{backend}/err_too_long.txt")
    assert is_too_long(capture.status, capture.answer)


@pytest.mark.parametrize(
    "name", ["err_malformed_json", "err_missing_messages", "err_bad_temperature", "chat"]
)
def test_other_errors_and_answers_are_about_something_else(name: str) -> None:
    capture = load(f"llama_server/{name}.txt")
    assert not is_too_long(capture.status, capture.answer)


def test_a_refusal_of_another_kind_that_speaks_of_context_is_none() -> None:
    assert not is_too_long(401, b"maximum context length")

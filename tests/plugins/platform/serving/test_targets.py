"""Where a model answers, and how each engine is told what was asked for."""

from typing import Any

import pytest

from llmgate.config import Route
from llmgate_platform.serving.targets import Target, base_target
from llmgate_platform.settings import ModelSettings

MODEL = ModelSettings(name="Ours", base_model="base", upstream="llm", upstream_model="own-name")


async def nothing(*_: object) -> None:
    raise AssertionError


@pytest.mark.parametrize(
    ("dialect", "more"),
    [
        ("vllm", {"top_k": 0}),
        ("llama_server", {"top_k": 0, "min_p": 0}),
        ("ollama", {"top_k": 0}),
        ("openai", {}),
        ("generic", {}),
    ],
)
def test_an_engines_own_defaults_change_nothing(dialect: str, more: dict[str, Any]) -> None:
    """top_k at the top level where it is known; llama.cpp's min_p is off."""
    target = Target(nothing, "/v1/completions", "m", dialect)
    assert target.sampling(temperature=0.5, top_p=0.9, top_k=0) == {"temperature": 0.5, "top_p": 0.9, **more}


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/v1", "/v1/completions"), ("/", "/v1/completions"), ("/llm/", "/llm/completions")],
)
def test_a_base_answers_at_its_routes_own_path(path: str, expected: str) -> None:
    target = base_target(nothing, Route(path=path, upstream="llm"), MODEL, "vllm")
    assert (target.path, target.model) == (expected, "own-name")

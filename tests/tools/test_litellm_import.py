"""LiteLLM's configuration in gate.toml's words."""

from __future__ import annotations

import tomllib

import pytest

from llmgate.errors import ConfigError
from llmgate.tools.imported_gate import render
from llmgate.tools.litellm_import import convert
from tools.litellm import deployment, toml

GUIDE = [
    {
        "model_name": "custom-gpt4",
        "litellm_params": {
            "model": "gpt-4",
            "api_key": "sk-...",
            "api_base": "https://api.openai.com/v1",
            "custom_llm_provider": "openai",
        },
    }
]
"""The guide's model_list.yaml."""


def test_the_guides_model_list_by_itself() -> None:
    result = convert(GUIDE)
    written = tomllib.loads(render(result, source="model_list.yaml"))
    assert written["upstreams"] == {
        "api-openai-com": {"urls": ["https://api.openai.com"], "dialect": "openai", "api_key": "sk-..."}
    }
    assert written["models"] == [
        {"name": "custom-gpt4", "targets": [{"upstream": "api-openai-com", "model": "gpt-4"}]}
    ]
    assert result.report == [
        "upstreams.api-openai-com.api_key: stands in clear: put it into a file or the environment (env:NAME, file:PATH)"
    ]


def test_deployments_of_one_name_are_targets_with_their_weights() -> None:
    written = toml(
        deployment("chat", "hosted_vllm/qwen", api_base="http://one:8000/v1", weight=9),
        deployment("chat", "hosted_vllm/qwen", api_base="http://two:8000/v1", weight=1),
    )
    assert written["models"][0]["targets"] == [
        {"upstream": "one", "model": "qwen", "weight": 9},
        {"upstream": "two", "model": "qwen", "weight": 1},
    ]
    assert {upstream["dialect"] for upstream in written["upstreams"].values()} == {"vllm"}
    assert written["routes"] == [{"path": "/v1", "upstreams": ["one", "two"]}]


def test_a_model_of_a_vendor_keeps_the_slash_in_its_name() -> None:
    written = toml(deployment("llama", "openrouter/meta-llama/llama-3-8b"))
    assert written["models"][0]["targets"][0]["model"] == "meta-llama/llama-3-8b"


def test_secrets_of_the_environment_stay_there() -> None:
    written = toml(deployment("chat", "openai/gpt-4o", api_key="os.environ/OPENAI_API_KEY"))
    assert written["upstreams"]["api-openai-com"]["api_key"] == "env:OPENAI_API_KEY"


def test_two_keys_of_one_provider_are_two_upstreams() -> None:
    written = toml(
        deployment("a", "openai/x", api_key="os.environ/A"),
        deployment("b", "openai/x", api_key="os.environ/B"),
    )
    assert list(written["upstreams"]) == ["api-openai-com", "api-openai-com-2"]


def test_fallbacks_and_aliases() -> None:
    written = toml(
        deployment("small", "ollama/tiny"),
        deployment("large", "openai/gpt-4o"),
        router_settings={"model_group_alias": {"gpt-4": "large"}},
        litellm_settings={
            "fallbacks": [{"large": ["small"]}],
            "context_window_fallbacks": [{"small": ["large"]}],
        },
    )
    small, large = written["models"]
    assert large["fallbacks"] == [{"upstream": "127-0-0-1", "model": "tiny"}]
    assert large["aliases"] == ["gpt-4"]
    assert small["fallbacks"] == [{"upstream": "api-openai-com", "model": "gpt-4o"}]


def test_prices_are_per_million_tokens_here() -> None:
    info = {"input_cost_per_token": 0.0000025, "output_cost_per_token": 0.00001}
    assert toml(deployment("chat", "openai/gpt-4o", model_info=info))["prices"] == {
        "chat": {"input": 2.5, "output": 10.0}
    }


@pytest.mark.parametrize(
    ("document", "place"),
    [
        (None, "model_list"),
        ({}, "model_list"),
        ({"model_list": []}, "model_list"),
        ({"model_list": [{"model_name": "a"}]}, "model_list[0]"),
        ({"model_list": [{"model_name": 1, "litellm_params": {"model": "b"}}]}, "model_list[0]"),
    ],
)
def test_what_is_no_configuration_is_refused_with_its_place(document: object, place: str) -> None:
    with pytest.raises(ConfigError, match=place.replace("[", r"\[")):
        convert(document)

"""The gate.toml that an import writes."""

import tomllib
from pathlib import Path

from llmgate.config import check_file
from llmgate.tools.imported_gate import Result, Target, Upstream, render
from tools.litellm import converted, deployment


def test_what_is_written_is_a_gate_toml_that_can_be_served(tmp_path: Path) -> None:
    result = converted(
        deployment("small", "hosted_vllm/tiny", api_base="http://one:8000/v1"),
        deployment(
            "large", "openai/gpt-4o", model_info={"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}
        ),
        deployment("large", "hosted_vllm/huge", api_base="http://two:8000/v1"),
        router_settings={"model_group_alias": {"gpt-4": "large"}, "redis_host": "cache"},
        litellm_settings={
            "fallbacks": [{"small": ["large"]}],
            "default_internal_user_params": {"max_budget": 5, "budget_duration": "30d", "rpm_limit": 10},
        },
    )
    file = tmp_path / "gate.toml"
    file.write_text(render(result, source="config.yaml"))
    assert check_file(file) == []


def test_what_would_break_toml_is_quoted() -> None:
    """Names are what somebody has written into a YAML file."""
    name = 'a "b" \\ c]\n'
    result = Result(upstreams={"one": Upstream("http://one", "vllm")}, models={name: [Target("one", "x")]})
    written = tomllib.loads(render(result, source="a.yaml"))
    assert [model["name"] for model in written["models"]] == [name]


def test_the_file_says_where_it_is_from() -> None:
    result = Result(upstreams={"one": Upstream("http://one", "vllm")}, models={"x": [Target("one", "x")]})
    assert "model_list.yaml" in render(result, source="model_list.yaml").splitlines()[0]

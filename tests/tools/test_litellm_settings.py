"""What LiteLLM sets beside its models."""

from tools.litellm import converted, deployment, toml


def test_budgets_limits_and_stores() -> None:
    written = toml(
        deployment("chat", "openai/gpt-4o"),
        general_settings={"database_url": "os.environ/DATABASE_URL", "global_max_parallel_requests": 100},
        router_settings={"redis_host": "cache", "redis_port": 6380},
        litellm_settings={
            "request_timeout": 60,
            "default_internal_user_params": {"max_budget": 5, "budget_duration": "30d", "rpm_limit": 10},
        },
    )
    assert written["store"] == {"url": "env:DATABASE_URL"}
    assert written["limits_store"] == {"url": "redis://cache:6380/0"}
    assert written["upstreams"]["api-openai-com"]["first_byte_timeout"] == 60.0
    assert written["quotas"] == [{"per": "user", "money": 5.0, "window": "month"}]
    assert written["limits"] == [
        {"per": "gate", "concurrent": 100},
        {"per": "user", "requests": 10, "window": "minute"},
    ]


def test_what_has_no_counterpart_is_said_with_its_place() -> None:
    report = converted(
        deployment("claude", "anthropic/claude-sonnet"),
        deployment("chat", "openai/gpt-4o", rpm=60, mock_response="hi"),
        general_settings={"master_key": "sk-1234", "alerting": ["slack"]},
        guardrails=[{}],
    ).report
    assert [line.partition(":")[0] for line in report] == [
        "model_list[0]",
        "model_list[1].litellm_params.mock_response",
        "model_list[1].litellm_params.rpm",
        "general_settings.master_key",
        "general_settings.alerting",
        "guardrails",
    ]
    assert "does not translate" in report[0]

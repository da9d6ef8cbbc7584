"""The settings of LiteLLM beside its models: budgets, limits, stores, and what has no counterpart."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .imported_gate import Result

MILLION = 1_000_000
REMARKS: Mapping[str, str] = {
    "general_settings.master_key": "there is none: make an administrator by `llmgate user add` and `user grant`",
    "general_settings.database_url": "taken as [store] url; `llmgate key import` brings keys along",
    "router_settings.num_retries": "the gate tries replicas and fallbacks by itself, before the first byte",
    "litellm_settings.num_retries": "the gate tries replicas and fallbacks by itself, before the first byte",
    "router_settings.routing_strategy": "replicas are chosen by least busy, or by `balance` of the upstream",
    "litellm_settings.cache": "answers are not cached",
    "litellm_settings.cache_params": "answers are not cached",
    "litellm_settings.drop_params": "parameters go to the backend as they are",
    "litellm_settings.success_callback": "usage is in the ledger (`llmgate usage`) and at /metrics",
    "litellm_settings.failure_callback": "failures are in the access log and at /metrics",
    "litellm_settings.callbacks": "usage is in the ledger (`llmgate usage`) and at /metrics",
}
HANDLED = {
    "router_settings": {
        "fallbacks", "context_window_fallbacks", "model_group_alias", "redis_host", "redis_port", "redis_password",
        "redis_url", "timeout",
    },
    "litellm_settings": {
        "fallbacks", "context_window_fallbacks", "default_fallbacks", "request_timeout", "default_internal_user_params",
    },
    "general_settings": {"database_url", "max_parallel_requests", "global_max_parallel_requests"},
}  # fmt: skip


def take_settings(document: Mapping[str, Any], result: Result) -> None:
    """Take over into `result` what is beside the models, and report what has no counterpart."""
    general = mapping(document.get("general_settings"))
    if isinstance(url := general.get("database_url"), str):
        result.store = re.sub(r"^postgres:", "postgresql:", secret_of(url))
    for key, per in (("max_parallel_requests", "key"), ("global_max_parallel_requests", "gate")):
        if isinstance(general.get(key), int):
            result.limits.append({"per": per, "concurrent": general[key]})
    router, lite = mapping(document.get("router_settings")), mapping(document.get("litellm_settings"))
    result.redis = _redis(router)
    timeout = router.get("timeout") or lite.get("request_timeout")
    for upstream in result.upstreams.values():
        if upstream.timeout is None and isinstance(timeout, int | float):
            upstream.timeout = timeout
    _user_defaults(mapping(lite.get("default_internal_user_params")), result)
    for section, value in document.items():
        settings = mapping(value)
        if section not in HANDLED:
            result.say(section, "no counterpart")
            continue
        for key in settings:
            place = f"{section}.{key}"
            if place in REMARKS or key not in HANDLED[section]:
                result.say(place, REMARKS.get(place, "no counterpart"))


def _redis(router: Mapping[str, Any]) -> str | None:
    if isinstance(url := router.get("redis_url"), str):
        return secret_of(url)
    host = router.get("redis_host")
    if not isinstance(host, str):
        return None
    if host.startswith("os.environ/") or "redis_password" in router:
        return "env:REDIS_URL"
    return f"redis://{host}:{router.get('redis_port', 6379)}/0"


def _user_defaults(params: Mapping[str, Any], result: Result) -> None:
    """What every user gets: a budget, and requests and tokens per minute."""
    budget = params.get("max_budget")
    if isinstance(budget, int | float):
        windows = {"1d": "day", "24h": "day", "30d": "month", "1mo": "month"}
        duration = str(params.get("budget_duration") or "")
        result.quotas.append(
            {"per": "user", "money": float(budget), "window": windows.get(duration, duration or "none")}
        )
    for key, what in (("rpm_limit", "requests"), ("tpm_limit", "tokens")):
        if isinstance(params.get(key), int):
            result.limits.append({"per": "user", what: params[key], "window": "minute"})


def mapping(value: object) -> Mapping[str, Any]:
    """`value`, if it is a mapping; an empty one else."""
    return value if isinstance(value, Mapping) else {}


def secret_of(text: str) -> str:
    """`os.environ/NAME` of LiteLLM is `env:NAME` here."""
    return f"env:{text.removeprefix('os.environ/')}" if text.startswith("os.environ/") else text

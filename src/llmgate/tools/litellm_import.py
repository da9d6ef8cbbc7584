"""A LiteLLM configuration turned into a gate.toml, with a report of what has no counterpart.

Read are `model_list`, `router_settings`, `litellm_settings` and `general_settings` of LiteLLM's `config.yaml` (its
documentation, "proxy configs"). Nothing is dropped in silence: every setting that is not taken over is in the report.

Nothing here does input or output.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ..errors import ConfigError

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider of LiteLLM whose API is OpenAI's: where it is if `api_base` does not say, and llmgate's dialect."""

    url: str | None
    dialect: str


PROVIDERS: Mapping[str, Provider] = {
    "openai": Provider("https://api.openai.com", "openai"),
    "text-completion-openai": Provider("https://api.openai.com", "openai"),
    "hosted_vllm": Provider(None, "vllm"),
    "vllm": Provider(None, "vllm"),
    "ollama": Provider("http://127.0.0.1:11434", "ollama"),
    "ollama_chat": Provider("http://127.0.0.1:11434", "ollama"),
    "lm_studio": Provider("http://127.0.0.1:1234", "generic"),
    "llamafile": Provider("http://127.0.0.1:8080", "llama_server"),
    "openai_like": Provider(None, "generic"),
    "custom_openai": Provider(None, "generic"),
    "litellm_proxy": Provider(None, "generic"),
    "deepseek": Provider("https://api.deepseek.com", "generic"),
    "groq": Provider("https://api.groq.com/openai", "generic"),
    "mistral": Provider("https://api.mistral.ai", "generic"),
    "openrouter": Provider("https://openrouter.ai/api", "generic"),
    "together_ai": Provider("https://api.together.xyz", "generic"),
    "xai": Provider("https://api.x.ai", "generic"),
    "nvidia_nim": Provider("https://integrate.api.nvidia.com", "generic"),
    "fireworks_ai": Provider("https://api.fireworks.ai/inference", "generic"),
}
TAKEN_PARAMS = frozenset(
    {"model", "api_base", "base_url", "api_key", "custom_llm_provider", "weight", "timeout"}
)
TAKEN_COSTS = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cached_input",
}
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


@dataclass(slots=True)
class Target:
    """One deployment of a model: which upstream has it, under which name, with which share."""

    upstream: str
    model: str
    weight: float = 1


@dataclass(slots=True)
class Upstream:
    """One `[upstreams.NAME]`."""

    url: str
    dialect: str
    api_key: str | None = None
    timeout: float | None = None


@dataclass(slots=True)
class Result:
    """The parts of a gate.toml, and what the reader has to know."""

    upstreams: dict[str, Upstream] = field(default_factory=dict)
    models: dict[str, list[Target]] = field(default_factory=lambda: defaultdict(list))
    fallbacks: dict[str, list[Target]] = field(default_factory=lambda: defaultdict(list))
    aliases: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    prices: dict[str, dict[str, float]] = field(default_factory=dict)
    quotas: list[dict[str, object]] = field(default_factory=list)
    limits: list[dict[str, object]] = field(default_factory=list)
    store: str | None = None
    redis: str | None = None
    report: list[str] = field(default_factory=list)

    def say(self, place: str, text: str) -> None:
        """A line of the report."""
        self.report.append(f"{place}: {text}")


def convert(document: object) -> Result:
    """What a LiteLLM configuration comes to. Raises `ConfigError`, which names the place, where it is none."""
    if isinstance(document, list):  # a model_list.yaml by itself
        document = {"model_list": document}
    if not isinstance(document, Mapping):
        raise ConfigError(["expected a mapping with model_list, as in LiteLLM's config.yaml"])
    document = dict(document)
    result = Result()
    models = document.pop("model_list", None)
    if not isinstance(models, list) or not models:
        raise ConfigError(["model_list: expected a list of models"])
    for index, entry in enumerate(models):
        _model(f"model_list[{index}]", entry, result)
    _fallbacks(document, result)
    _settings(document, result)
    return result


def _model(place: str, entry: object, result: Result) -> None:
    if not isinstance(entry, Mapping) or not isinstance(params := entry.get("litellm_params"), Mapping):
        raise ConfigError([f"{place}: expected model_name and litellm_params"])
    name, model = entry.get("model_name"), params.get("model")
    if not isinstance(name, str) or not isinstance(model, str):
        raise ConfigError([f"{place}: model_name and litellm_params.model have to be texts"])
    prefix, _, rest = model.partition("/")
    known = params.get("custom_llm_provider") or (prefix if rest else "openai")
    provider = PROVIDERS.get(str(known))
    if provider is None:
        result.say(
            place, f'"{name}" is left out: {known} has an API of its own, and llmgate does not translate APIs'
        )
        return
    real = rest if rest and prefix in PROVIDERS else model
    url = _root(str(params.get("api_base") or params.get("base_url") or provider.url or ""))
    if not url:
        result.say(place, f'"{name}" is left out: {known} needs an api_base')
        return
    upstream = _upstream(url, provider.dialect, params, result)
    weight = params.get("weight", 1)
    result.models[name].append(Target(upstream, real, weight if isinstance(weight, int | float) else 1))
    _prices(name, {**_mapping(entry.get("model_info")), **params}, result)
    for key in sorted(set(params) - TAKEN_PARAMS - set(TAKEN_COSTS)):
        what = (
            "limits per deployment: see max_in_flight of the upstream"
            if key in ("rpm", "tpm")
            else "no counterpart"
        )
        result.say(f"{place}.litellm_params.{key}", what)


def _root(url: str) -> str:
    """The root of an API: the route's own /v1 is added to it."""
    return _secret(url) if url.startswith("os.environ/") else re.sub(r"/v1/?$", "", url.rstrip("/"))


def _upstream(url: str, dialect: str, params: Mapping[str, Any], result: Result) -> str:
    key = params.get("api_key")
    secret = _secret(key) if isinstance(key, str) and key not in ("", "none", "None") else None
    for name, known in result.upstreams.items():
        if (known.url, known.api_key) == (url, secret):
            return name
    host = urlsplit(url).hostname or "upstream"
    base = re.sub(r"[^a-z0-9]+", "-", host.lower()).strip("-") or "upstream"
    name, number = base, 2
    while name in result.upstreams:
        name, number = f"{base}-{number}", number + 1
    timeout = params.get("timeout")
    result.upstreams[name] = Upstream(
        url, dialect, secret, timeout if isinstance(timeout, int | float) else None
    )
    if secret is not None and not secret.startswith("env:"):
        result.say(
            f"upstreams.{name}.api_key",
            "stands in clear: put it into a file or the environment (env:NAME, file:PATH)",
        )
    return name


def _secret(text: str) -> str:
    """`os.environ/NAME` of LiteLLM is `env:NAME` here."""
    return f"env:{text.removeprefix('os.environ/')}" if text.startswith("os.environ/") else text


def _prices(name: str, info: Mapping[str, Any], result: Result) -> None:
    price = {ours: float(info[theirs]) * MILLION for theirs, ours in TAKEN_COSTS.items() if theirs in info}
    if price:
        result.prices.setdefault(name, {"input": 0.0, "output": 0.0} | price)


def _fallbacks(document: Mapping[str, Any], result: Result) -> None:
    for section in ("router_settings", "litellm_settings"):
        settings = _mapping(document.get(section))
        for kind in ("fallbacks", "context_window_fallbacks", "default_fallbacks"):
            for name, others in _pairs(settings.get(kind), result):
                for other in others:
                    targets = result.models.get(other)
                    if name not in result.models or not targets:
                        result.say(
                            f"{section}.{kind}", f'from "{name}" to "{other}": one of them is not there'
                        )
                    elif targets[0] not in result.fallbacks[name]:
                        result.fallbacks[name] += targets
        for alias, name in _mapping(settings.get("model_group_alias")).items():
            real = name.get("model") if isinstance(name, Mapping) else name
            if real in result.models:
                result.aliases[str(real)].append(str(alias))
            else:
                result.say(f"{section}.model_group_alias.{alias}", f'there is no model "{real}"')


def _pairs(value: object, result: Result) -> Iterator[tuple[str, Sequence[str]]]:
    """LiteLLM writes [{"a": ["b", "c"]}], and ["c"] for the fallbacks of all."""
    for item in value if isinstance(value, list) else ():
        if isinstance(item, Mapping):
            yield from ((str(name), [str(other) for other in others]) for name, others in item.items())
        else:
            yield from ((name, [str(item)]) for name in list(result.models) if name != item)


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


def _settings(document: Mapping[str, Any], result: Result) -> None:
    general = _mapping(document.get("general_settings"))
    if isinstance(url := general.get("database_url"), str):
        result.store = re.sub(r"^postgres:", "postgresql:", _secret(url))
    for key, per in (("max_parallel_requests", "key"), ("global_max_parallel_requests", "gate")):
        if isinstance(general.get(key), int):
            result.limits.append({"per": per, "concurrent": general[key]})
    router, lite = _mapping(document.get("router_settings")), _mapping(document.get("litellm_settings"))
    result.redis = _redis(router)
    timeout = router.get("timeout") or lite.get("request_timeout")
    for upstream in result.upstreams.values():
        if upstream.timeout is None and isinstance(timeout, int | float):
            upstream.timeout = timeout
    _user_defaults(_mapping(lite.get("default_internal_user_params")), result)
    for section, value in document.items():
        settings = _mapping(value)
        if section not in HANDLED:
            result.say(section, "no counterpart")
            continue
        for key in settings:
            place = f"{section}.{key}"
            if place in REMARKS or key not in HANDLED[section]:
                result.say(place, REMARKS.get(place, "no counterpart"))


def _redis(router: Mapping[str, Any]) -> str | None:
    if isinstance(url := router.get("redis_url"), str):
        return _secret(url)
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


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def render(result: Result, *, source: str) -> str:
    """The gate.toml. `source` is the name of the file that it comes from."""
    tables = [f"# From {source} by `llmgate import litellm`. `llmgate check` says whether it is right."]
    tables.append(_table("gate", {"listen": ["127.0.0.1:4000"]}))
    if result.store is not None:
        tables.append(_table("store", {"url": result.store}))
    if result.redis is not None:
        tables.append(_table("limits_store", {"url": result.redis}))
    for name, upstream in result.upstreams.items():
        values: dict[str, object] = {"urls": [upstream.url], "dialect": upstream.dialect}
        if upstream.api_key is not None:
            values["api_key"] = upstream.api_key
        if upstream.timeout is not None:
            values["first_byte_timeout"] = float(upstream.timeout)
        tables.append(_table(f"upstreams.{name}", values))
    tables.append(_table("[routes]", {"path": "/v1", "upstreams": list(result.upstreams)}))
    for model, targets in result.models.items():
        values = {"name": model}
        if aliases := result.aliases.get(model):
            values["aliases"] = aliases
        values["targets"] = [_target(target, len(targets) > 1) for target in targets]
        if fallbacks := result.fallbacks.get(model):
            values["fallbacks"] = [_target(target, False) for target in fallbacks]
        tables.append(_table("[models]", values))
    tables += [_table(f"prices.{_text(model)}", dict(price)) for model, price in result.prices.items()]
    tables += [_table("[limits]", limit) for limit in result.limits]
    tables += [_table("[quotas]", quota) for quota in result.quotas]
    return "\n\n".join(tables) + "\n"


def _target(target: Target, weighted: bool) -> dict[str, object]:
    values: dict[str, object] = {"upstream": target.upstream, "model": target.model}
    return values | {"weight": target.weight} if weighted else values


def _table(name: str, values: Mapping[str, object]) -> str:
    return "\n".join([f"[{name}]", *_lines(values)])


def _lines(values: Mapping[str, object]) -> Iterator[str]:
    for key, value in values.items():
        yield f"{key} = {_value(value)}"


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(_lines(value)) + " }"
    if isinstance(value, list):
        if value and isinstance(value[0], Mapping):
            return "[\n" + "".join(f"    {_value(item)},\n" for item in value) + "]"
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return _text(value) if isinstance(value, str) else repr(value)


def _text(text: str) -> str:
    """A TOML basic string, whose escapes are those of JSON (TOML 1.0, Strings), DEL aside."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")

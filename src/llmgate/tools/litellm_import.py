"""A LiteLLM configuration turned into a gate.toml, with a report of what has no counterpart.

Read are `model_list`, `router_settings`, `litellm_settings` and `general_settings` of LiteLLM's `config.yaml` (its
documentation, "proxy configs"). Nothing is dropped in silence: every setting that is not taken over is in the report.

Nothing here does input or output.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ..errors import ConfigError
from .imported_gate import Result, Target, Upstream
from .litellm_settings import mapping, secret_of, take_settings

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
    take_settings(document, result)
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
    _prices(name, {**mapping(entry.get("model_info")), **params}, result)
    for key in sorted(set(params) - TAKEN_PARAMS - set(TAKEN_COSTS)):
        what = (
            "limits per deployment: see max_in_flight of the upstream"
            if key in ("rpm", "tpm")
            else "no counterpart"
        )
        result.say(f"{place}.litellm_params.{key}", what)


def _root(url: str) -> str:
    """The root of an API: the route's own /v1 is added to it."""
    return secret_of(url) if url.startswith("os.environ/") else re.sub(r"/v1/?$", "", url.rstrip("/"))


def _upstream(url: str, dialect: str, params: Mapping[str, Any], result: Result) -> str:
    key = params.get("api_key")
    secret = secret_of(key) if isinstance(key, str) and key not in ("", "none", "None") else None
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


def _prices(name: str, info: Mapping[str, Any], result: Result) -> None:
    price = {ours: float(info[theirs]) * MILLION for theirs, ours in TAKEN_COSTS.items() if theirs in info}
    if price:
        result.prices.setdefault(name, {"input": 0.0, "output": 0.0} | price)


def _fallbacks(document: Mapping[str, Any], result: Result) -> None:
    for section in ("router_settings", "litellm_settings"):
        settings = mapping(document.get(section))
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
        for alias, name in mapping(settings.get("model_group_alias")).items():
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

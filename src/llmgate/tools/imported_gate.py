"""What an import has found, and the gate.toml that is written of it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field


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

"""gate.toml's tables in the words of the services."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmgate.backends.catalog import Target
from llmgate.config import Config, from_document
from llmgate.gate.from_config import (
    aliases_of,
    billable_by,
    defaults_of,
    entries_of,
    known_models,
    limit_of,
    prices_of,
)
from llmgate.ledger import Allotment, Unit, Window
from llmgate.ledger.model import MILLION
from llmgate.ratelimit.limit import Limit

PRICE = {"input": 1.5, "output": 6}


def config_of(**tables: Any) -> Config:
    document = {
        "upstreams": {
            "vllm": {"urls": ["http://a"], "models": {"fast": "small"}},
            "other": {"urls": ["http://b"]},
        },
        "routes": [{"path": "/v1", "upstream": "vllm", "default_model": "fast"}],
        **tables,
    }
    return from_document(document, file=Path("gate.toml"), environ={})


@pytest.mark.parametrize(
    ("written", "limit"),
    [
        ({"per": "key", "requests": 5}, Limit("key", "requests", 5, 60)),
        ({"per": "user", "tokens": 9, "window": "day"}, Limit("user", "tokens", 9, 86_400)),
        ({"per": "ip", "requests": 1, "window": 7}, Limit("ip", "requests", 1, 7)),
        (
            {"per": "key", "requests": 1, "strategy": "moving", "routes": ["/v1"], "exempt_keys": [3]},
            Limit("key", "requests", 1, 60, moving=True, name="/v1", exempt=frozenset({3})),
        ),
        ({"per": "gate", "concurrent": 2}, Limit("gate", "concurrent", 2, 60)),
    ],
)
def test_a_limit(written: dict[str, Any], limit: Limit) -> None:
    assert limit_of(config_of(limits=[written]).limits[0]) == limit


def test_a_quota_of_money_is_kept_in_millionths() -> None:
    """Whole numbers alone add up exactly."""
    quota = {
        "per": "user",
        "money": 2.5,
        "overdraft": 0.5,
        "window": "month",
        "model": "small",
        "upstream": "vllm",
    }
    [default] = defaults_of(config_of(quotas=[quota], prices={"*": PRICE}))
    window = Window("month")
    amount = {"limit": 5 * MILLION // 2, "overdraft": MILLION // 2}
    assert default.kind == "user"
    assert default.allotment == Allotment(Unit.MONEY, window=window, upstream="vllm", model="small", **amount)


def test_a_quota_without_a_window_never_starts_anew() -> None:
    [default] = defaults_of(config_of(quotas=[{"per": "key", "tokens": 10}]))
    assert default.allotment == Allotment(Unit.TOKENS, 10, window=Window("none"))


def test_prices_are_those_of_the_file() -> None:
    price = prices_of(config_of(prices={"small": {**PRICE, "cached_input": 0.5}})).of("small")
    assert (price.input, price.output, price.cached_input) == (1.5, 6.0, 0.5)


def test_aliases_are_plain_names() -> None:
    assert aliases_of(config_of().upstreams["vllm"]) == {"fast": "small"}


def test_a_model_has_the_targets_that_a_route_leads_to() -> None:
    targets = [{"upstream": "vllm", "model": "small", "weight": 9}, {"upstream": "other", "weight": 1}]
    model = {"name": "chat", "targets": targets, "fallbacks": [{"upstream": "other", "model": "large"}]}
    routes = [{"path": "/v1", "upstreams": ["vllm", "other"]}]
    config = config_of(models=[model], routes=routes)
    [both] = entries_of(config, ["vllm", "other"])
    assert both.targets == [Target("vllm", "small", 9), Target("other", "", 1)]
    assert both.fallbacks == [Target("other", "large")]
    [one] = entries_of(config, ["vllm"])
    assert (one.targets, one.fallbacks) == ([Target("vllm", "small", 9)], [])
    assert entries_of(config, ["nobody"]) == []


def test_what_metrics_may_name_is_what_the_file_names() -> None:
    """By its real name where that is known; a pattern is the name of no model."""
    models = [{"name": "gpt-*", "targets": [{"upstream": "vllm", "model": "huge"}]}]
    config = config_of(models=models, prices={"priced": PRICE})
    assert known_models(config) == {"small", "huge", "priced"}


def billable(charged: str, asked: str = "", **tables: Any) -> bool | None:
    config = config_of(**tables)
    judge = billable_by(config, [SimpleNamespace(model_names={"listed"})])
    return None if judge is None else judge(charged, asked)


def test_with_prices_a_model_needs_one() -> None:
    """Unless there is one for everything."""
    assert billable("free-lunch", prices={"small": PRICE}) is False
    assert billable("small", prices={"small": PRICE}) is True
    assert billable("free-lunch", prices={"*": PRICE}) is None


def test_with_a_quota_of_one_model_somebody_has_to_know_the_name() -> None:
    quotas = [{"per": "user", "tokens": 1, "model": "small"}]
    assert billable("made-up", "made-up", quotas=quotas) is False
    for name in ("small", "fast", "listed"):
        assert billable(name, quotas=quotas) is True
    assert billable("made-up", "fast", quotas=quotas) is True
    assert billable("made-up", quotas=[{"per": "user", "tokens": 1}]) is None

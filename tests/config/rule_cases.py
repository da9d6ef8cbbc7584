"""What the tests of rules share: for each rule the nearest thing to a broken one that is not, and what breaks it."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from llmgate.config import from_document
from llmgate.config.rules import RULES
from llmgate.errors import ConfigError

GATE: dict[str, Any] = {
    "upstreams": {"vllm": {"urls": ["http://a:1"]}, "openai": {"urls": ["https://b/v1"]}},
    "routes": [{"path": "/v1", "upstream": "vllm"}],
}


def problems_of(**tables: Any) -> list[str]:
    try:
        from_document(GATE | tables, file=Path("gate.toml"), environ={})
    except ConfigError as error:
        return [problem.removeprefix("gate.toml: ") for problem in error.problems]
    return []


def routes(*extra: dict[str, Any], **first: Any) -> dict[str, Any]:
    return {"routes": [{"path": "/v1", "upstream": "vllm"} | first, *extra]}


def served(name: str, *, aliases: list[str] | None = None, **target: Any) -> dict[str, Any]:
    return {"name": name, "aliases": aliases or [], "targets": [{"upstream": "vllm"} | target]}


KEPT = {
    "workers_share": {
        "gate": {"workers": 2},
        "store": {"url": "postgresql://db/gate"},
        "limits_store": {"url": "redis://cache"},
    },
    "one_durability": {"store": {"synchronous": "full"}, "ledger": {"durability": "commit"}},
    "whole_tls": {"gate": {"tls": {"certificate": "gate.pem", "key": "gate.key"}}},
    "key_fits_header": {"upstreams": {"vllm": {"urls": ["http://a"], "api_key": "sk-1"}}},
    "output_fits_context": {
        "upstreams": {"vllm": {"urls": ["http://a"], "max_output_tokens": 8, "context_length": 8}}
    },
    "inner_app_alone": {"upstreams": {"vllm": {"urls": ["app:"]}}},
    "queue_of_places": {
        "gate": {"workers": 1},
        "upstreams": {"vllm": {"urls": ["http://a"], "max_in_flight": 1, "queue": {"max": 3}}},
    },
    "balanced_replicas": {
        "upstreams": {"vllm": {"urls": ["http://a"], "balance": "sticky", "sticky_header": "x-session"}}
    },
    "vllm_speaks": {"upstreams": {"vllm": {"urls": ["http://a"], "dialect": "vllm", "send_priority": True}}},
    "some_upstream": {"routes": [{"path": "/v1", "upstreams": ["vllm", "openai"], "upstream_path": "/"}]},
    "one_owner": {"models": [served("a", aliases=["b"]), served("c"), served("a*")]},
    "some_weight": {"models": [served("a", weight=1), served("b", weight=0.5)]},
    "served_targets": {"models": [served("a")]},
    "known_upstream": {"quotas": [{"per": "user", "tokens": 1, "upstream": "openai"}]},
    "one_name": routes({"path": "/v1", "upstream": "vllm", "listen": "[::1]:1", "name": "second"}),
    "one_place": routes({"path": "/v2", "upstream": "vllm"}),
    "no_doubled_path": routes(upstream="openai", upstream_path="/"),
    "allow_below_path": routes(allow=["POST /chat/completions", "POST /v1beta/x"]),
    "no_loop": {"upstreams": {"vllm": {"urls": ["http://127.0.0.1:8001", "http://10.0.0.9:8000"]}}},
    "proxy_needs_httpx": {
        "upstreams": {"vllm": {"urls": ["http://a"], "engine": "httpx", "proxy": "http://proxy:3128"}}
    },
    "one_value_for_a_header": {
        "upstreams": {"vllm": {"urls": ["http://a"], "headers": {"x-a": "1", "x-b": "two words"}}}
    },
    "no_window_for_slots": {
        "limits": [{"per": "key", "concurrent": 1}, {"per": "key", "requests": 1, "window": "hour"}]
    },
    "no_second_limit": {
        "limits": [
            {"per": "key", "requests": 1},
            {"per": "key", "requests": 9, "window": "hour"},
            {"per": "key", "tokens": 9},
            {"per": "user", "requests": 1},
        ]
    },
    "no_second_quota": {
        "quotas": [
            {"per": "user", "tokens": 1, "window": "day"},
            {"per": "user", "tokens": 9, "window": "month"},
            {"per": "user", "tokens": 1, "window": "day", "model": "m"},
        ]
    },
    "known_middleware": {"plugins": {"audit": {}}} | routes(middleware=["audit.trail"]),
    "accounting_below": routes(middleware=["quota", "accounting"]),
    "roles_need_a_caller": routes(roles=["admin"]),
    "allowed_default": routes(models=["a", "b"], default_model="b"),
    "one_unit": {"limits": [{"per": "key", "tokens": 1}]},
    "known_routes": {
        "limits": [{"per": "key", "requests": 1, "routes": ["/v1", "audit"]}],
        "plugins": {"audit": {}},
    },
    "limited_addresses": {
        "limits": [{"per": "ip", "requests": 1, "routes": ["audit.writes"], "listen": ["127.0.0.1:8000"]}],
        "gate": {"listen": ["127.0.0.1:8000", "127.0.0.1:8001"]},
        "plugins": {"audit": {}},
    },
    "moving_counts_requests": {"limits": [{"per": "key", "requests": 1, "strategy": "moving"}]},
    "budget_holds_a_body": {"gate": {"max_body": 1000, "body_budget": 1000, "body_budget_per_key": 1000}},
    "moving_windows": {
        "limits": [{"per": "key", "requests": 1, "strategy": "moving"}],
        "limits_store": {"url": "redis+cluster://cache:6379"},
    },
    "whole_overdraft": {"quotas": [{"per": "user", "tokens": 1, "overdraft": 2}]},
    "money_has_prices": {
        "quotas": [{"per": "user", "money": 1, "overdraft": 0.5, "model": "m"}],
        "prices": {"*": {"input": 1, "output": 1}},
    },
}

BROKEN_RULES: list[tuple[str, dict[str, Any], str]] = [
    (
        "some_upstream",
        {"routes": [{"path": "/v1"}]},
        "routes[0].upstream: expected either upstream or upstreams",
    ),
    (
        "some_upstream",
        routes(upstreams=["openai"]),
        "routes[0].upstream: expected either upstream or upstreams",
    ),
    (
        "some_upstream",
        {"routes": [{"path": "/v1", "upstreams": ["vllm", "vlm"]}]},
        'routes[0].upstreams: no upstream "vlm" (known: vllm, openai)',
    ),
    (
        "one_owner",
        {"models": [served("a", aliases=["b"]), served("b")]},
        'models[1].name: "b" is another model\'s name or alias already',
    ),
    (
        "one_owner",
        {"models": [served("a", aliases=["b*"])]},
        "models[0].aliases: an alias is one name: put a pattern into a table of its own",
    ),
    (
        "some_weight",
        {"models": [served("a", weight=0)]},
        "models[0].targets: every weight is 0: nothing would be served",
    ),
    (
        "some_weight",
        {"models": [{"name": "a", "targets": [{"upstream": "vllm", "weight": 1}, {"upstream": "vllm"}]}]},
        "models[0].targets: some have a weight: give one to each",
    ),
    (
        "one_owner",
        {"models": [served("a", aliases=["a"])]},
        'models[0].aliases: "a" is the model\'s own name: leave it out',
    ),
    (
        "served_targets",
        {"models": [{"name": "a", "targets": [{"upstream": "openai"}]}]},
        'models[0].targets[0].upstream: no route leads to "openai": add it to a route\'s upstreams',
    ),
    (
        "budget_holds_a_body",
        {"gate": {"max_body": 1000, "body_budget_per_key": 999}},
        "gate.body_budget_per_key: less than max_body (1000): a body of that size would always be refused",
    ),
    (
        "allow_below_path",
        routes(allow=["GET /models", "POST /v1/chat/completions"]),
        'routes[0].allow[1]: paths are those below "/v1", so this is /v1/v1/chat/completions: '
        'write "POST /chat/completions"',
    ),
    (
        "no_loop",
        {"upstreams": {"vllm": {"urls": ["http://localhost:8000/v2"]}}},
        "upstreams.vllm.urls[0]: 127.0.0.1:8000 is this gate itself: write the backend's own address",
    ),
    (
        "no_loop",
        {"gate": {"listen": ["[::1]:8124"]}, "upstreams": {"vllm": {"urls": ["http://localhost:8124"]}}},
        "upstreams.vllm.urls[0]: [::1]:8124 is this gate itself: write the backend's own address",
    ),
    (
        "no_loop",
        {
            "gate": {"listen": ["127.0.0.1:8124"]},
            "upstreams": {"vllm": {"urls": ["http://gate.localhost:8124"]}},
        },
        "upstreams.vllm.urls[0]: 127.0.0.1:8124 is this gate itself: write the backend's own address",
    ),
    (
        "no_loop",
        {"gate": {"listen": ["127.0.0.1:8124"]}, "upstreams": {"vllm": {"urls": ["http://0.0.0.0:8124"]}}},
        "upstreams.vllm.urls[0]: 127.0.0.1:8124 is this gate itself: write the backend's own address",
    ),
    (
        "no_loop",
        {
            "gate": {"listen": ["127.0.0.1:8124"]},
            "upstreams": {"vllm": {"urls": ["http://[::ffff:127.0.0.1]:8124"]}},
        },
        "upstreams.vllm.urls[0]: 127.0.0.1:8124 is this gate itself: write the backend's own address",
    ),
    (
        "no_loop",
        {"gate": {"listen": ["0.0.0.0:80"]}, "upstreams": {"vllm": {"urls": ["http://127.0.0.1"]}}},
        "upstreams.vllm.urls[0]: 0.0.0.0:80 is this gate itself: write the backend's own address",
    ),
    (
        "one_value_for_a_header",
        {"upstreams": {"vllm": {"urls": ["http://a"], "api_key": "k", "headers": {"Authorization": "x"}}}},
        "upstreams.vllm.headers.Authorization: api_key goes there: leave one of them out",
    ),
    (
        "one_value_for_a_header",
        {"upstreams": {"vllm": {"urls": ["http://a"], "headers": {"x-a": "a\u00fc"}}}},
        "upstreams.vllm.headers.x-a: a header has visible ASCII characters and spaces only",
    ),
    (
        "proxy_needs_httpx",
        {"upstreams": {"vllm": {"urls": ["http://a"], "proxy": "http://proxy:3128"}}},
        'upstreams.vllm.proxy: the engine that is fast knows no proxies: write engine = "httpx"',
    ),
    (
        "no_window_for_slots",
        {"limits": [{"per": "key", "concurrent": 1, "window": "minute"}]},
        "limits[0].window: concurrent has no window: leave it out, or write requests",
    ),
    (
        "no_window_for_slots",
        {"limits": [{"per": "key", "concurrent": 1, "strategy": "moving"}]},
        "limits[0].strategy: concurrent has no window: leave it out, or write requests",
    ),
    (
        "no_second_limit",
        {"limits": [{"per": "key", "requests": 1}, {"per": "key", "requests": 2, "window": "minute"}]},
        "limits[1]: limits[0] counts the same already: leave one of them out",
    ),
    (
        "no_second_quota",
        {"quotas": [{"per": "user", "tokens": 1}, {"per": "user", "tokens": 2, "window": "none"}]},
        "quotas[1]: quotas[0] is for the same already: leave one of them out",
    ),
    (
        "moving_windows",
        {
            "limits": [{"per": "key", "requests": 1, "strategy": "moving"}],
            "limits_store": {"url": "memcached://cache:11211"},
        },
        'limits[0].strategy: memcached:// keeps no moving windows: write "fixed", or another limits_store.url',
    ),
    (
        "moving_counts_requests",
        {"limits": [{"per": "key", "tokens": 1, "strategy": "moving"}]},
        'limits[0].strategy: tokens are counted in fixed windows only: write "fixed", or leave it out',
    ),
    (
        "workers_share",
        {"gate": {"workers": 2}, "limits_store": {"url": "redis://cache"}},
        "gate.workers: 2 workers cannot share SQLite and their own memory: "
        "write 1, or set store.url to postgresql:// and limits_store.url to redis://",
    ),
    (
        "workers_share",
        {"gate": {"workers": 2}, "store": {"url": "postgresql://db/gate"}},
        "gate.workers: 2 workers cannot share SQLite and their own memory: "
        "write 1, or set store.url to postgresql:// and limits_store.url to redis://",
    ),
    (
        "one_durability",
        {"store": {"synchronous": "full"}, "ledger": {"durability": "journal"}},
        "ledger.durability: an answer that has ended in the journal does not survive a power cut, which "
        'store.synchronous = "full" asks for: write "commit", or leave one of the two out',
    ),
    (
        "whole_tls",
        {"gate": {"tls": {"certificate": "gate.pem"}}},
        "gate.tls.key: missing: a certificate needs its private key",
    ),
    (
        "whole_tls",
        {"gate": {"tls": {"client_ca": "clients.pem"}}},
        "gate.tls.client_ca: without a certificate there is no TLS: write certificate",
    ),
    (
        "key_fits_header",
        {"upstreams": {"vllm": {"urls": ["http://a"], "api_key": "sk\r\nX-Admin: 1"}}},
        "upstreams.vllm.api_key: a key has visible ASCII characters only: no space, no line break",
    ),
    (
        "output_fits_context",
        {"upstreams": {"vllm": {"urls": ["http://a"], "max_output_tokens": 9, "context_length": 8}}},
        "upstreams.vllm.max_output_tokens: 9 is over context_length (8): lower it",
    ),
    (
        "inner_app_alone",
        {"upstreams": {"vllm": {"urls": ["app:", "http://a"]}}},
        'upstreams.vllm.urls: "app:" stands alone: put the servers into an upstream of their own',
    ),
    (
        "queue_of_places",
        {"upstreams": {"vllm": {"urls": ["http://a"], "queue": {"max": 3}}}},
        "upstreams.vllm.queue: nobody waits without max_in_flight: write max_in_flight, or leave the queue out",
    ),
    (
        "queue_of_places",
        {"upstreams": {"vllm": {"urls": ["app:"], "max_in_flight": 3}}},
        'upstreams.vllm.max_in_flight: "app:" is this process itself, and has no queue: leave it out',
    ),
    (
        "queue_of_places",
        {
            "gate": {"workers": 4},
            "store": {"url": "postgresql://a@b/c"},
            "limits_store": {"url": "redis://a"},
            "upstreams": {"vllm": {"urls": ["http://a"], "max_in_flight": 3}},
        },
        "upstreams.vllm.max_in_flight: less than gate.workers (4), of which each has one at least",
    ),
    (
        "balanced_replicas",
        {"upstreams": {"vllm": {"urls": ["http://a"], "sticky_header": "x-session"}}},
        'upstreams.vllm.sticky_header: is for balance = "sticky": write that, or leave it out',
    ),
    (
        "vllm_speaks",
        {"upstreams": {"vllm": {"urls": ["http://a"], "send_priority": True}}},
        'upstreams.vllm.send_priority: is vLLM\'s own: write dialect = "vllm", or leave it out (found "generic")',
    ),
    ("known_upstream", routes(upstream="vlm"), 'routes[0].upstream: no upstream "vlm" (known: vllm, openai)'),
    (
        "known_upstream",
        {"quotas": [{"per": "user", "tokens": 1, "upstream": "vlm"}]},
        'quotas[0].upstream: no upstream "vlm" (known: vllm, openai)',
    ),
    (
        "one_name",
        routes({"path": "/v2", "upstream": "vllm", "name": "/v1"}),
        'routes[1].name: another route is called "/v1" already: give each a name of its own',
    ),
    (
        "one_name",
        {"plugins": {"audit": {}}} | routes(name="audit"),
        'routes[0].name: a plugin is called "audit" already: give the route a name of its own',
    ),
    (
        "one_place",
        routes({"path": "/v1", "upstream": "vllm", "name": "b", "listen": "127.0.0.1:8000"}),
        'routes[1].path: "/v1" on 127.0.0.1:8000 is another route\'s already: change path or listen',
    ),
    (
        "no_doubled_path",
        routes(upstream="openai"),
        'routes[0].path: "https://b/v1" of upstream "openai" ends in "/v1" already: write "https://b" there',
    ),
    (
        "known_middleware",
        {"plugins": {"audit": {}}} | routes(middleware=["trail"]),
        'routes[0].middleware: no middleware "trail" (known: ratelimit, quota, accounting, audit.NAME)',
    ),
    (
        "accounting_below",
        routes(middleware=["accounting", "quota"]),
        'routes[0].middleware: "quota" needs what "accounting" reads: put "accounting" after it',
    ),
    (
        "accounting_below",
        {"limits": [{"per": "key", "tokens": 1}]} | routes(middleware=["ratelimit"]),
        'routes[0].middleware: "ratelimit" needs what "accounting" reads: put "accounting" after it',
    ),
    (
        "roles_need_a_caller",
        routes(roles=["admin"], authentication="none"),
        'routes[0].roles: no caller is known here, so none has a role: write authentication = "required"',
    ),
    (
        "allowed_default",
        routes(models=["a", "b"], default_model="c"),
        'routes[0].default_model: no allowed model "c" (known: a, b)',
    ),
    (
        "one_unit",
        {"limits": [{"per": "key"}]},
        "limits[0]: write exactly one of requests, tokens or concurrent, found none",
    ),
    (
        "one_unit",
        {"quotas": [{"per": "user", "tokens": 0, "requests": 1}]},
        "quotas[0]: write exactly one of tokens, requests or money, found tokens and requests",
    ),
    (
        "known_routes",
        {"limits": [{"per": "key", "requests": 1, "routes": ["v1"]}]},
        'limits[0].routes: no route or plugin "v1" (known: /v1)',
    ),
    (
        "limited_addresses",
        {
            "limits": [{"per": "ip", "requests": 1, "routes": ["audit"], "listen": ["127.0.0.1:9"]}],
            "gate": {"listen": ["127.0.0.1:8000"]},
            "plugins": {"audit": {}},
        },
        'limits[0].listen: no listener "127.0.0.1:9" (known: 127.0.0.1:8000)',
    ),
    (
        "limited_addresses",
        {"limits": [{"per": "ip", "requests": 1, "listen": ["127.0.0.1:9"]}]},
        "limits[0].listen: goes with plugins in `routes` alone: a route of its own address is a route of its own",
    ),
    (
        "whole_overdraft",
        {"quotas": [{"per": "user", "tokens": 1, "overdraft": 0.5}]},
        "quotas[0].overdraft: tokens and requests are whole numbers, found 0.5",
    ),
    (
        "money_has_prices",
        {"quotas": [{"per": "user", "money": 1}]},
        "quotas[0].money: nothing has a price: add [prices.MODEL]",
    ),
    (
        "money_has_prices",
        {
            "quotas": [{"per": "user", "money": 1, "model": "m"}],
            "prices": {"n": {"input": 1, "output": 1}},
        },
        'quotas[0].model: no price of "m" (known: n)',
    ),
]


def rules_of(module: ModuleType) -> list[str]:
    """The rules that are defined in `module`."""
    rules = {rule for group in RULES.values() for rule in group}
    return sorted(rule.__name__ for rule in rules if rule.__module__ == module.__name__)


def broken(module: ModuleType) -> list[Any]:
    """Cases that break one of the rules in `module`."""
    names = rules_of(module)
    return [pytest.param(*case[1:], id=case[0]) for case in BROKEN_RULES if case[0] in names]

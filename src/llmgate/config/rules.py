"""The rules between settings: names that must be known, and values that only make sense together.

`RULES` is the whole list; those of the gate itself are here.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

from . import limit_rules, route_rules, upstream_rules
from .findings import Finding, Rules
from .schema import (
    Config,
    Gate,
    Ledger,
    Limit,
    LimitsStore,
    ModelTable,
    Quota,
    Route,
    Target,
    Tls,
    Upstream,
)


def workers_share(config: Config, gate: Gate) -> Iterator[Finding]:
    """Several workers count right only on stores that they share."""
    if gate.workers > 1 and (config.store.url.scheme == "sqlite" or _counts_alone(config.limits_store)):
        yield (
            "workers",
            (
                f"{gate.workers} workers cannot share SQLite and their own memory: "
                "write 1, or set store.url to postgresql:// and limits_store.url to redis://"
            ),
        )


def one_durability(config: Config, ledger: Ledger) -> Iterator[Finding]:
    """A journal survives less than what is asked of the store."""
    store = config.store
    if ledger.durability == "journal" and store.url.scheme == "sqlite" and store.synchronous == "full":
        yield (
            "durability",
            'an answer that has ended in the journal does not survive a power cut, which store.synchronous = "full" '
            'asks for: write "commit", or leave one of the two out',
        )


def budget_holds_a_body(_: Config, gate: Gate) -> Iterator[Finding]:
    """A body that is allowed has to fit."""
    for key in ("body_budget", "body_budget_per_key"):
        if getattr(gate, key) < gate.max_body:
            yield key, f"less than max_body ({gate.max_body}): a body of that size would always be refused"


def whole_tls(_: Config, tls: Tls) -> Iterator[Finding]:
    """A certificate without its key is of no use, nor is anything else without a certificate."""
    if tls.certificate is not None and tls.key is None:
        yield "key", "missing: a certificate needs its private key"
    for name in ("key", "client_ca", "listen"):
        if tls.certificate is None and getattr(tls, name):
            yield name, "without a certificate there is no TLS: write certificate"


def _counts_alone(store: LimitsStore) -> bool:
    return store.url is None or store.url.scheme == "memory"


RULES: Rules = MappingProxyType(
    {
        Gate: (
            workers_share,
            budget_holds_a_body,
        ),
        Ledger: (one_durability,),
        Tls: (whole_tls,),
        Upstream: (
            upstream_rules.key_fits_header,
            upstream_rules.output_fits_context,
            upstream_rules.inner_app_alone,
            upstream_rules.queue_of_places,
            upstream_rules.balanced_replicas,
            upstream_rules.vllm_speaks,
            upstream_rules.no_loop,
            upstream_rules.proxy_needs_httpx,
            upstream_rules.one_value_for_a_header,
        ),
        Route: (
            upstream_rules.known_upstream,
            route_rules.some_upstream,
            route_rules.one_name,
            route_rules.one_place,
            route_rules.no_doubled_path,
            route_rules.allow_below_path,
            route_rules.known_middleware,
            route_rules.accounting_below,
            route_rules.roles_need_a_caller,
            route_rules.allowed_default,
        ),
        ModelTable: (upstream_rules.one_owner, upstream_rules.some_weight, upstream_rules.served_targets),
        Target: (upstream_rules.known_upstream,),
        Limit: (
            limit_rules.one_unit,
            limit_rules.known_routes,
            limit_rules.limited_addresses,
            limit_rules.moving_counts_requests,
            limit_rules.moving_windows,
            limit_rules.no_window_for_slots,
            limit_rules.no_second_limit,
        ),
        Quota: (
            limit_rules.one_unit,
            upstream_rules.known_upstream,
            limit_rules.whole_overdraft,
            limit_rules.money_has_prices,
            limit_rules.no_second_quota,
        ),
    }
)

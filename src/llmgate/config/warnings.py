"""What a gate.toml says that can be served, and is probably not meant: rules whose findings are warnings."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from types import MappingProxyType
from typing import Final

from .findings import Finding, Rules
from .messages import join, quoted
from .schema import Config, Gate, Quota, Route, Upstream

METERED: Final = ("ratelimit", "quota", "accounting")


def window_is_said(_: Config, quota: Quota) -> Iterator[Finding]:
    """Who forgets the window of a quota gets one that is spent once and for all."""
    if quota.window is None:
        yield "window", 'not written, so it never starts anew: write day or month, or "none" if that is meant'


def alias_of_a_model(_: Config, upstream: Upstream) -> Iterator[Finding]:
    """Aliases are looked up once."""
    for alias, name in upstream.models.items():
        if name != alias and name in upstream.models:
            yield (
                join("models", alias),
                f"{quoted(name)} is an alias itself, and goes to the backend as it is",
            )
        if name == alias:
            yield join("models", alias), "stands for itself: leave it out"


def claimed_twice(config: Config, upstream: Upstream) -> Iterator[Finding]:
    """A name of an upstream that [[models]] or another upstream of the same route means otherwise."""
    tables = {name for model in config.models for name in (model.name, *model.aliases)}
    mine = next(name for name, each in config.upstreams.items() if each is upstream)
    beside = [route.served_by for route in config.routes if mine in route.served_by]
    others = [name for served in beside for name in served[: served.index(mine)]]
    for alias, name in upstream.models.items():
        if alias in tables and beside:
            yield (
                join("models", alias),
                "a table of [[models]] has this name, too, and goes before it: leave one out",
            )
        for other in dict.fromkeys(others):
            if config.upstreams[other].models.get(alias, name) != name:
                also = f"{quoted(config.upstreams[other].models[alias])} on {quoted(other)}"
                yield join("models", alias), f"is {also}: one name for two models; requests go to either"


def names_of_models(config: Config, quota: Quota) -> Iterator[Finding]:
    """The ledger knows models by the backends' names."""
    if quota.model is not None and (name := _aliases(config).get(quota.model)) is not None:
        yield "model", f"is an alias, and nothing is counted under it: write {quoted(name)}"


def prices_of_models(config: Config, _: Config) -> Iterator[Finding]:
    """As for quotas: a price of an alias is never asked for."""
    aliases = _aliases(config)
    for model in config.prices:
        if (name := aliases.get(model)) is not None and name not in config.prices:
            yield join("prices", model), f"is an alias, and has no price by that: write {quoted(name)}"


def unmetered(config: Config, route: Route) -> Iterator[Finding]:
    """Everything is let through, and only what is known can be counted."""
    counted = "quota" in route.middleware and config.quotas
    if counted and any(operation.method == "*" for operation in route.allow):
        yield (
            "allow",
            '"*" lets through operations that nobody meters (/tokenize, admin paths ...): name those that you need',
        )


def open_to_all(config: Config, route: Route) -> Iterator[Finding]:
    """No key, no limit, and not on loopback alone."""
    limited = "ratelimit" in route.middleware and any(
        not limit.routes or route.name in limit.routes for limit in config.limits
    )
    if route.authentication == "none" and not limited and is_public(config, route.listen):
        yield "authentication", 'anybody can use it without end: add [[limits]], such as per = "ip"'


def plain_text(_: Config, gate: Gate) -> Iterator[Finding]:
    """Keys travel readably outside of loopback."""
    if gate.tls.certificate is not None or gate.trusted_proxies:
        return
    for index, address in enumerate(gate.listen):
        if not is_loopback(address):
            yield f"listen[{index}]", "keys and prompts come here without TLS: put a proxy with TLS in front"


def trusts_everybody(_: Config, gate: Gate) -> Iterator[Finding]:
    """Whoever is believed about addresses has none of the limits per address."""
    for index, network in enumerate(gate.trusted_proxies):
        if network.prefixlen == 0:
            yield f"trusted_proxies[{index}]", "anybody may say to be any address: name your proxies alone"


def is_loopback(address: object) -> bool:
    """Whether only this machine reaches an `Address`."""
    host, path = getattr(address, "host", ""), getattr(address, "path", None)
    if path is not None or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_public(config: Config, own: object = None) -> bool:
    """Whether others than this machine reach the gate, or what has an address of its own.

    They do at a loopback address, too, where a proxy stands in front; a Unix socket is there for one.
    """
    addresses = config.gate.listen if own is None else (own,)
    at_sockets = any(getattr(each, "path", None) is not None for each in addresses)
    return config.gate.is_proxied or at_sockets or not all(map(is_loopback, addresses))


WARNINGS: Rules = MappingProxyType(
    {
        Gate: (plain_text, trusts_everybody),
        Upstream: (alias_of_a_model, claimed_twice),
        Route: (unmetered, open_to_all),
        Quota: (window_is_said, names_of_models),
        Config: (prices_of_models,),
    }
)


def _aliases(config: Config) -> dict[str, str]:
    return {
        alias: name
        for upstream in config.upstreams.values()
        for alias, name in upstream.models.items()
        if alias != name
    }

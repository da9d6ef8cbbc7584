"""gate.toml's tables in the words of the services: limits, quotas, prices, names of models."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Protocol

from ..backends.catalog import FallbackOn, ModelEntry, Target
from ..config import Config, Limit, Upstream
from ..config.schema import Target as TargetSettings
from ..ledger import Allotment, Default, Price, Prices, Unit, Window
from ..ledger.ledger import Durability
from ..ledger.model import MILLION
from ..ratelimit import limit as ratelimit

WINDOWS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}


def limit_of(limit: Limit) -> ratelimit.Limit:
    """One of gate.toml's [[limits]] in the middleware's words."""
    what: ratelimit.What = next(what for what in ratelimit.WHAT if getattr(limit, what) is not None)
    amount = getattr(limit, what)
    length = limit.window or "minute"
    window = WINDOWS[length] if isinstance(length, str) else length
    moving = limit.strategy == "moving"
    return ratelimit.Limit(
        limit.per, what, amount, window, moving, ",".join(limit.routes), frozenset(limit.exempt_keys)
    )


def durability_of(config: Config) -> Durability:
    """When an answer has ended: in the journal, where that survives as much as a commit does."""
    if config.ledger.durability is not None:
        return config.ledger.durability
    store = config.store
    return "journal" if store.url.scheme == "sqlite" and store.synchronous == "normal" else "commit"


def defaults_of(config: Config) -> list[Default]:
    """gate.toml's [[quotas]] in the ledger's words."""
    defaults = []
    for quota in config.quotas:
        unit = next(unit for unit in Unit if getattr(quota, unit) is not None)
        scale = MILLION if unit is Unit.MONEY else 1
        allotment = Allotment(
            unit=unit,
            limit=round(getattr(quota, unit) * scale),
            window=Window(quota.window or "none"),
            upstream=quota.upstream or "",
            model=quota.model or "",
            overdraft=round(quota.overdraft * scale),
        )
        defaults.append(Default(quota.per, allotment))
    return defaults


def prices_of(config: Config) -> Prices:
    """gate.toml's [prices] in the ledger's words."""
    prices = config.prices.items()
    return Prices(
        {model: Price(price.input, price.output, price.cached_input, price.second) for model, price in prices}
    )


def aliases_of(settings: Upstream) -> dict[str, str]:
    """An upstream's model aliases: the name that clients use, and its own."""
    return {str(alias): str(name) for alias, name in settings.models.items()}


def entries_of(config: Config, upstreams: Collection[str]) -> list[ModelEntry]:
    """Those of gate.toml's [[models]] that a route to `upstreams` serves, with the targets that it leads to."""
    entries = []
    for table in config.models:
        targets = [target_of(target) for target in table.targets if target.upstream in upstreams]
        if targets:
            fallbacks = [target_of(target) for target in table.fallbacks if target.upstream in upstreams]
            reasons = frozenset(map(FallbackOn, table.fallback_on))
            entries.append(ModelEntry(table.name, targets, table.aliases, fallbacks, reasons))
    return entries


def target_of(target: TargetSettings) -> Target:
    """A target in the catalog's words."""
    return Target(target.upstream, target.model or "", target.weight)


def billable_by(config: Config, upstreams: Iterable[UpstreamNames]) -> Callable[[str, str], bool] | None:
    """Whether a model (the charged name, the one asked for) cannot evade prices and quotas by its name.

    With prices, and none for "*", it needs one. With a quota of one model, it has to be one that somebody knows: a
    backend with a single model serves it under any name. None where neither is in force.
    """
    if config.prices and "*" not in config.prices:
        return lambda charged, _: charged in config.prices
    if not any(quota.model for quota in config.quotas):
        return None
    known = known_models(config) | {str(quota.model) for quota in config.quotas if quota.model}
    known |= {alias for upstream in config.upstreams.values() for alias in upstream.models}
    served = tuple(upstreams)

    def billable(charged: str, asked: str) -> bool:
        return charged in known or asked in known or any(charged in one.model_names for one in served)

    return billable


class UpstreamNames(Protocol):
    """What an upstream says it serves."""

    @property
    def model_names(self) -> Collection[str]:
        """Names of models; empty while they are not known."""


def known_models(config: Config) -> set[str]:
    """The models that gate.toml names: those that metrics name before the upstreams have said what they serve."""
    names = set(config.prices)
    for upstream in config.upstreams.values():
        names.update(upstream.models.values())
    for model in config.models:
        names.update([model.name, *model.aliases] if "*" not in model.name else ())
        names.update(target.model for target in (*model.targets, *model.fallbacks) if target.model)
    for route in config.routes:
        names.update(route.models or ())
        if route.default_model is not None:
            names.add(route.default_model)
    aliases = {
        alias: name for upstream in config.upstreams.values() for alias, name in upstream.models.items()
    }
    return {aliases.get(name, name) for name in names}

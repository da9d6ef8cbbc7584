"""gate.toml's tables in the words of the services: limits, quotas, prices, names of models."""

from __future__ import annotations

from ..config import Config, Limit, Upstream
from ..ledger import Allotment, Default, Price, Prices, Unit, Window
from ..ledger.model import MILLION
from ..middleware import ratelimit

WINDOWS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}


def limit_of(limit: Limit) -> ratelimit.Limit:
    """One of gate.toml's [[limits]] in the middleware's words."""
    what: ratelimit.What = next(what for what in ratelimit.WHAT if getattr(limit, what) is not None)
    amount = getattr(limit, what)
    length = limit.window or "minute"
    window = WINDOWS[length] if isinstance(length, str) else length
    moving = limit.strategy == "moving"
    return ratelimit.Limit(limit.per, what, amount, window, moving, name=",".join(limit.routes))


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
    return Prices({model: Price(price.input, price.output, price.cached_input) for model, price in prices})


def aliases_of(settings: Upstream) -> dict[str, str]:
    """An upstream's model aliases: the name that clients use, and its own."""
    return {str(alias): str(name) for alias, name in settings.models.items()}


def known_models(config: Config) -> set[str]:
    """The models that gate.toml names: those that metrics name before the upstreams have said what they serve."""
    names = set(config.prices)
    for upstream in config.upstreams.values():
        names.update(upstream.models.values())
    for route in config.routes:
        names.update(route.models or ())
        if route.default_model is not None:
            names.add(route.default_model)
    aliases = {
        alias: name for upstream in config.upstreams.values() for alias, name in upstream.models.items()
    }
    return {aliases.get(name, name) for name in names}

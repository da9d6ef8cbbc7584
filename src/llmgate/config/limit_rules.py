"""Rules for limits and quotas: what is counted, for whom, and how long."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from .findings import Finding
from .messages import alternatives, dangling
from .read import BROKEN, sound
from .schema import (
    Config,
    Limit,
    Quota,
)

Table = TypeVar("Table", Limit, Quota)


def moving_windows(config: Config, limit: Limit) -> Iterator[Finding]:
    """memcached counts, and keeps no lists of times."""
    url = config.limits_store.url
    if limit.strategy == "moving" and url is not None and url.scheme == "memcached":
        yield "strategy", 'memcached:// keeps no moving windows: write "fixed", or another limits_store.url'


def one_unit(_: Config, table: Limit | Quota) -> Iterator[Finding]:
    """A limit or quota counts exactly one thing."""
    if len(given := _units(table)) != 1:
        yield "", f"write exactly one of {alternatives(table.UNITS)}, found {' and '.join(given) or 'none'}"


def known_routes(config: Config, limit: Limit) -> Iterator[Finding]:
    """Routes and plugins are named as they are declared; which groups a plugin has, it says when it is opened."""
    known = [*(route.name for route in config.routes), *config.plugins]
    for name in sound(limit.routes):
        plugin, dot, _ = name.partition(".")
        if name not in known and not (dot and plugin in config.plugins):
            yield "routes", dangling("route or plugin", name, known)


def no_window_for_slots(_: Config, limit: Limit) -> Iterator[Finding]:
    """Requests at the same time are counted now, not in a window."""
    if limit.concurrent is not None and limit.window is not None:
        yield "window", "concurrent has no window: leave it out, or write requests"
    if limit.concurrent is not None and limit.strategy != "fixed":
        yield "strategy", "concurrent has no window: leave it out, or write requests"


def no_second_limit(config: Config, limit: Limit) -> Iterator[Finding]:
    """Of two limits that count the same, one says nothing."""
    if (index := _twin(config.limits, limit, _counted)) is not None:
        yield "", f"limits[{index}] counts the same already: leave one of them out"


def no_second_quota(config: Config, quota: Quota) -> Iterator[Finding]:
    """Everybody has one quota of a kind."""
    if (index := _twin(config.quotas, quota, _drawn_on)) is not None:
        yield "", f"quotas[{index}] is for the same already: leave one of them out"


def limited_addresses(config: Config, limit: Limit) -> Iterator[Finding]:
    """An address tells the operations of plugins apart; a route has its own `listen`."""
    if not limit.listen:
        return
    plugins = [config.plugins.get(name.partition(".")[0]) for name in sound(limit.routes)]
    if not limit.routes or None in plugins:
        yield (
            "listen",
            "goes with plugins in `routes` alone: a route of its own address is a route of its own",
        )
        return
    known = {*config.gate.listen, *(plugin.listen for plugin in plugins if plugin and plugin.listen)}
    for address in sound(limit.listen):
        if address not in known:
            yield "listen", dangling("listener", str(address), map(str, known))


def moving_counts_requests(_: Config, limit: Limit) -> Iterator[Finding]:
    """A moving window notes each request with its time; how many tokens it takes is known too late for that."""
    if limit.tokens is not None and limit.strategy == "moving":
        yield "strategy", 'tokens are counted in fixed windows only: write "fixed", or leave it out'


def whole_overdraft(_: Config, quota: Quota) -> Iterator[Finding]:
    """Only money comes in parts."""
    if quota.money is None and not quota.overdraft.is_integer():
        yield "overdraft", f"tokens and requests are whole numbers, found {quota.overdraft}"


def money_has_prices(config: Config, quota: Quota) -> Iterator[Finding]:
    """Without a price nothing would ever be spent."""
    if quota.money is None:
        return
    if not config.prices:
        yield "money", "nothing has a price: add [prices.MODEL]"
    elif quota.model is not None and quota.model not in config.prices and "*" not in config.prices:
        yield "model", dangling("price of", quota.model, config.prices)


def _twin(tables: Sequence[Table], table: Table, what: Callable[[Table], object]) -> int | None:
    """The first of the tables before this one of which `what` says the same."""
    for index, earlier in enumerate(tables):
        if earlier is table:
            return None
        if earlier is not BROKEN and what(earlier) == what(table):
            return index
    return None


def _counted(limit: Limit) -> tuple[object, ...]:
    return limit.per, _units(limit), limit.window or "minute", frozenset(limit.routes)


def _drawn_on(quota: Quota) -> tuple[object, ...]:
    return quota.per, _units(quota), quota.window or "none", quota.upstream, quota.model


def _units(table: Limit | Quota) -> tuple[str, ...]:
    return tuple(unit for unit in table.UNITS if getattr(table, unit) is not None)

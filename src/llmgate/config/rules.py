"""The rules between settings: names that must be known, and values that only make sense together.

A rule takes the whole config and one table of its type, and yields a place in that table, as `allow[1]` ("" for
the table itself), with what is wrong there. `RULES` is the whole list. Rules read values only by looking into them,
so one that depends on a broken value is left out (see `read.Broken`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from itertools import takewhile
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from .addresses import ASGI_APP, Address
from .messages import alternatives, dangling, join, quoted
from .read import BROKEN, Unknowable, sound
from .schema import (
    Config,
    Gate,
    Ledger,
    Limit,
    LimitsStore,
    ModelTable,
    Queue,
    Quota,
    Route,
    Target,
    Tls,
    Upstream,
)

Finding = tuple[str, str]
Rule = Callable[[Config, Any], Iterator[Finding]]
Rules = Mapping[type, tuple[Rule, ...]]

MIDDLEWARE: Final = ("ratelimit", "quota", "accounting")
"""What a route can name without a plugin."""


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


def _counts_alone(store: LimitsStore) -> bool:
    return store.url is None or store.url.scheme == "memory"


def budget_holds_a_body(_: Config, gate: Gate) -> Iterator[Finding]:
    """A body that is allowed has to fit."""
    for key in ("body_budget", "body_budget_per_key"):
        if getattr(gate, key) < gate.max_body:
            yield key, f"less than max_body ({gate.max_body}): a body of that size would always be refused"


def moving_windows(config: Config, limit: Limit) -> Iterator[Finding]:
    """memcached counts, and keeps no lists of times."""
    url = config.limits_store.url
    if limit.strategy == "moving" and url is not None and url.scheme == "memcached":
        yield "strategy", 'memcached:// keeps no moving windows: write "fixed", or another limits_store.url'


def whole_tls(_: Config, tls: Tls) -> Iterator[Finding]:
    """A certificate without its key is of no use, nor is anything else without a certificate."""
    if tls.certificate is not None and tls.key is None:
        yield "key", "missing: a certificate needs its private key"
    for name in ("key", "client_ca", "listen"):
        if tls.certificate is None and getattr(tls, name):
            yield name, "without a certificate there is no TLS: write certificate"


def key_fits_header(_: Config, upstream: Upstream) -> Iterator[Finding]:
    """The key travels in a header: visible ASCII only (RFC 9110, 5.5)."""
    if upstream.api_key is not None and not all("!" <= letter <= "~" for letter in upstream.api_key.reveal()):
        yield "api_key", "a key has visible ASCII characters only: no space, no line break"


def output_fits_context(_: Config, upstream: Upstream) -> Iterator[Finding]:
    """An answer alone cannot be longer than prompt and answer together."""
    output, context = upstream.max_output_tokens, upstream.context_length
    if output is not None and context is not None and output > context:
        yield "max_output_tokens", f"{output} is over context_length ({context}): lower it"


def inner_app_alone(_: Config, upstream: Upstream) -> Iterator[Finding]:
    """There is one app in this process, and no balancing between it and servers elsewhere."""
    if ASGI_APP in sound(upstream.urls) and len(upstream.urls) > 1:
        yield "urls", f"{quoted(ASGI_APP)} stands alone: put the servers into an upstream of their own"


def queue_of_places(config: Config, upstream: Upstream) -> Iterator[Finding]:
    """Who may run at once decides who waits, and each worker counts its own."""
    most = upstream.max_in_flight
    if most is None and upstream.queue != Queue():
        yield "queue", "nobody waits without max_in_flight: write max_in_flight, or leave the queue out"
    if most is None:
        return
    if most < config.gate.workers:
        yield (
            "max_in_flight",
            f"less than gate.workers ({config.gate.workers}), of which each has one at least",
        )
    if upstream.is_asgi_app:
        yield "max_in_flight", f"{quoted(ASGI_APP)} is this process itself, and has no queue: leave it out"


def balanced_replicas(_: Config, upstream: Upstream) -> Iterator[Finding]:
    """A header tells callers apart only where they are told apart."""
    if upstream.sticky_header is not None and upstream.balance != "sticky":
        yield "sticky_header", 'is for balance = "sticky": write that, or leave it out'


def vllm_speaks(_: Config, upstream: Upstream) -> Iterator[Finding]:
    """Others would refuse the fields, or take them for something else."""
    for key in ("send_priority", "request_metrics"):
        if getattr(upstream, key) and upstream.dialect != "vllm":
            yield (
                key,
                f'is vLLM\'s own: write dialect = "vllm", or leave it out (found {quoted(upstream.dialect)})',
            )


def known_upstream(config: Config, table: Route | Quota | Target) -> Iterator[Finding]:
    """Upstreams are named as they are declared."""
    if table.upstream is not None and table.upstream not in config.upstreams:
        yield "upstream", dangling("upstream", table.upstream, config.upstreams)


def some_upstream(config: Config, route: Route) -> Iterator[Finding]:
    """A route leads to one upstream, or to several by the model."""
    if (route.upstream is None) == (not route.upstreams):
        yield "upstream", "expected either upstream or upstreams"
    for name in sound(route.upstreams):
        if name not in config.upstreams:
            yield "upstreams", dangling("upstream", name, config.upstreams)
        elif config.upstreams[name].is_asgi_app and len(route.upstreams) > 1:
            yield "upstreams", f"{quoted(name)} is the app around which the gate is put, and stands alone"


def one_owner(config: Config, model: ModelTable) -> Iterator[Finding]:
    """A name means one model."""
    mine = {model.name, *sound(model.aliases)}
    for other in sound(config.models):
        if other is model:
            break
        for name in sorted(mine & {other.name, *sound(other.aliases)}):
            yield "name", f"{quoted(name)} is another model's name or alias already"
    if any("*" in alias for alias in sound(model.aliases)):
        yield "aliases", "an alias is one name: put a pattern into a table of its own"


def some_weight(_: Config, model: ModelTable) -> Iterator[Finding]:
    """Weights are shares: all of them 0 would leave nobody."""
    weights = [target.weight for target in sound(model.targets)]
    if weights and all(weight == 0 for weight in weights):
        yield "targets", "every weight is 0: nothing would be served"
    if None in weights and any(weight is not None for weight in weights):
        yield "targets", "some have a weight: give one to each"


def served_targets(config: Config, model: ModelTable) -> Iterator[Finding]:
    """A target that no route leads to would never be asked."""
    reached = {name for route in sound(config.routes) for name in route.served_by}
    for index, target in enumerate(sound(model.targets)):
        if target.upstream in config.upstreams and target.upstream not in reached:
            yield (
                f"targets[{index}].upstream",
                f"no route leads to {quoted(target.upstream)}: add it to a route's upstreams",
            )


def one_name(config: Config, route: Route) -> Iterator[Finding]:
    """Limits, metrics and the ledger tell routes and plugins apart by name."""
    if route.name in config.plugins:
        yield "name", f"a plugin is called {quoted(route.name)} already: give the route a name of its own"
    for earlier in _before(route, config):
        if earlier.name == route.name:
            yield "name", f"another route is called {quoted(route.name)} already: give each a name of its own"
            return


def one_place(config: Config, route: Route) -> Iterator[Finding]:
    """Two routes at the same address cannot have the same path."""
    here = set(_addresses(config, route))
    for earlier in _before(route, config):
        shared = here.intersection(_addresses(config, earlier))
        if earlier.path == route.path and shared:
            where = f"{quoted(route.path)} on {min(map(str, shared))}"
            yield "path", f"{where} is another route's already: change path or listen"
            return


def no_doubled_path(config: Config, route: Route) -> Iterator[Finding]:
    """An upstream's URL is the server's root; the route's path is added to it."""
    added = route.path if route.upstream_path is None else route.upstream_path
    for name in sound(route.served_by):
        for url in sound(config.upstreams[name].urls) if name in config.upstreams else ():
            if added != "/" and urlsplit(url).path.endswith(added):
                twice = f"{quoted(url)} of upstream {quoted(name)} ends in {quoted(added)} already"
                yield "path", f"{twice}: write {quoted(url.removesuffix(added))} there"


def allow_below_path(_: Config, route: Route) -> Iterator[Finding]:
    """What `allow` names is below the route's path, and added to it."""
    if route.path == "/":
        return
    for index, operation in enumerate(route.allow):
        if operation is not BROKEN and (
            operation.path == route.path or operation.path.startswith(f"{route.path}/")
        ):
            below = operation.path.removeprefix(route.path)
            meant = f"write {quoted(f'{operation.method} {below}')}" if below else f"write {quoted('*')}"
            yield (
                f"allow[{index}]",
                f"paths are those below {quoted(route.path)}, so this is {route.path}{operation.path}: {meant}",
            )


def no_loop(config: Config, upstream: Upstream) -> Iterator[Finding]:
    """A gate that is its own backend asks itself until nothing is left."""
    for index, url in enumerate(upstream.urls):
        if url is BROKEN or url == ASGI_APP:
            continue
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        for address in sound(_every_address(config)):
            if (
                address.port == port
                and address.path is None
                and _same_host(parts.hostname or "", address.host)
            ):
                yield f"urls[{index}]", f"{address} is this gate itself: write the backend's own address"


def proxy_needs_httpx(_: Config, upstream: Upstream) -> Iterator[Finding]:
    """The fast engine speaks to the backend itself."""
    if upstream.proxy is not None and upstream.engine != "httpx":
        yield "proxy", 'the engine that is fast knows no proxies: write engine = "httpx"'


def one_value_for_a_header(_: Config, upstream: Upstream) -> Iterator[Finding]:
    """Names of headers do not depend on case (RFC 9110, 5.1)."""
    names = [name.lower() for name in upstream.headers]
    for name in upstream.headers:
        if names.count(name.lower()) > 1:
            yield join("headers", name), "there already in other letters: leave one out"
        if name.lower() == upstream.api_key_header and upstream.api_key is not None:
            yield join("headers", name), "api_key goes there: leave one of them out"
    for name, value in upstream.headers.items():
        if value is not BROKEN and not all(" " <= letter <= "~" for letter in value.reveal()):
            yield join("headers", name), "a header has visible ASCII characters and spaces only"


def known_middleware(config: Config, route: Route) -> Iterator[Finding]:
    """Middleware is built in, or offered by a plugin that has a table."""
    for name in sound(route.middleware):
        plugin, dot, _ = name.partition(".")
        if name not in MIDDLEWARE and not (dot and plugin in config.plugins):
            yield (
                "middleware",
                dangling("middleware", name, [*MIDDLEWARE, *(f"{p}.NAME" for p in config.plugins)]),
            )


def accounting_below(config: Config, route: Route) -> Iterator[Finding]:
    """What counts tokens settles with what accounting, further in, has read of the answer."""
    limited = any(limit.tokens is not None and _holds_for(limit, route) for limit in config.limits)
    counting = {"quota", "ratelimit"} if limited else {"quota"}
    for index, name in enumerate(route.middleware):
        if name in counting and "accounting" not in route.middleware[index:]:
            yield "middleware", f'{quoted(name)} needs what "accounting" reads: put "accounting" after it'


def roles_need_a_caller(_: Config, route: Route) -> Iterator[Finding]:
    """Nobody has a role who is not known."""
    if route.roles and route.authentication == "none":
        yield "roles", 'no caller is known here, so none has a role: write authentication = "required"'


def allowed_default(_: Config, route: Route) -> Iterator[Finding]:
    """The model that is filled in is one that may be asked for."""
    if (
        route.default_model is not None
        and route.models is not None
        and route.default_model not in route.models
    ):
        yield "default_model", dangling("allowed model", route.default_model, route.models)


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
    for index, earlier in enumerate(config.limits):
        if earlier is limit:
            return
        if earlier is not BROKEN and _counted(earlier) == _counted(limit):
            yield "", f"limits[{index}] counts the same already: leave one of them out"
            return


def no_second_quota(config: Config, quota: Quota) -> Iterator[Finding]:
    """Everybody has one quota of a kind."""
    for index, earlier in enumerate(config.quotas):
        if earlier is quota:
            return
        if earlier is not BROKEN and _drawn_on(earlier) == _drawn_on(quota):
            yield "", f"quotas[{index}] is for the same already: leave one of them out"
            return


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


RULES: Rules = MappingProxyType(
    {
        Gate: (
            workers_share,
            budget_holds_a_body,
        ),
        Ledger: (one_durability,),
        Tls: (whole_tls,),
        Upstream: (
            key_fits_header,
            output_fits_context,
            inner_app_alone,
            queue_of_places,
            balanced_replicas,
            vllm_speaks,
            no_loop,
            proxy_needs_httpx,
            one_value_for_a_header,
        ),
        Route: (
            known_upstream,
            some_upstream,
            one_name,
            one_place,
            no_doubled_path,
            allow_below_path,
            known_middleware,
            accounting_below,
            roles_need_a_caller,
            allowed_default,
        ),
        ModelTable: (one_owner, some_weight, served_targets),
        Target: (known_upstream,),
        Limit: (
            one_unit,
            known_routes,
            limited_addresses,
            moving_counts_requests,
            moving_windows,
            no_window_for_slots,
            no_second_limit,
        ),
        Quota: (one_unit, known_upstream, whole_overdraft, money_has_prices, no_second_quota),
    }
)


def findings(rules: Rules, config: Config, tables: list[tuple[str, msgspec.Struct]]) -> Iterator[Finding]:
    """The place and message of each rule that the tables, given with their places, do not keep."""
    for place, table in tables:
        for rule in rules.get(type(table), ()):
            for key, message in judged(rule(config, table)):
                yield ".".join(filter(None, (place, key))), message


def judged(findings: Iterator[Finding]) -> Iterator[Finding]:
    """The findings up to where they depend on a broken value."""
    try:
        yield from findings
    except Unknowable:
        return


def _before(route: Route, config: Config) -> Iterator[Route]:
    return takewhile(lambda other: other is not route, sound(config.routes))


def _addresses(config: Config, route: Route) -> tuple[object, ...]:
    return config.gate.listen if route.listen is None else (route.listen,)


def _holds_for(limit: Limit, route: Route) -> bool:
    return not limit.routes or route.name in limit.routes


def _every_address(config: Config) -> Iterator[Address]:
    yield from config.gate.listen
    routes = (route.listen for route in sound(config.routes))
    plugins = (table.listen for table in sound(config.plugins.values()))
    yield from filter(None, (*routes, *plugins, config.metrics.listen))


def _same_host(host: str, listener: str) -> bool:
    """Whether a connection to `host` reaches a listener, as far as names need not be asked for."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        if host != "localhost":
            return host == listener
        ip = ipaddress.ip_address("127.0.0.1")
    try:
        own = ipaddress.ip_address("127.0.0.1" if listener == "localhost" else listener)
    except ValueError:
        return False
    return ip == own or (own.is_unspecified and (ip.is_loopback or ip.is_unspecified))


def _counted(limit: Limit) -> tuple[object, ...]:
    return limit.per, _units(limit), limit.window or "minute", frozenset(limit.routes)


def _drawn_on(quota: Quota) -> tuple[object, ...]:
    return quota.per, _units(quota), quota.window or "none", quota.upstream, quota.model


def _units(table: Limit | Quota) -> tuple[str, ...]:
    return tuple(unit for unit in table.UNITS if getattr(table, unit) is not None)

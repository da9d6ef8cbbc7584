"""Rules for upstreams, and for the models and targets that lead to them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import urlsplit

from .addresses import ASGI_APP, Address
from .findings import Finding
from .messages import dangling, join, quoted
from .read import BROKEN, sound
from .schema import (
    Config,
    ModelTable,
    Queue,
    Quota,
    Route,
    Target,
    Upstream,
)


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
    """Others would refuse the field, or take it for something else."""
    if upstream.send_priority and upstream.dialect != "vllm":
        found = quoted(upstream.dialect)
        yield "send_priority", f'is vLLM\'s own: write dialect = "vllm", or leave it out (found {found})'


def known_upstream(config: Config, table: Route | Quota | Target) -> Iterator[Finding]:
    """Upstreams are named as they are declared."""
    if table.upstream is not None and table.upstream not in config.upstreams:
        yield "upstream", dangling("upstream", table.upstream, config.upstreams)


def one_owner(config: Config, model: ModelTable) -> Iterator[Finding]:
    """A name means one model."""
    mine = {model.name, *sound(model.aliases)}
    for other in sound(config.models):
        if other is model:
            break
        for name in sorted(mine & {other.name, *sound(other.aliases)}):
            yield "name", f"{quoted(name)} is another model's name or alias already"
    if model.name in model.aliases:
        yield "aliases", f"{quoted(model.name)} is the model's own name: leave it out"
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
    for key in ("targets", "fallbacks"):
        for index, target in enumerate(sound(getattr(model, key))):
            if target.upstream in config.upstreams and target.upstream not in reached:
                yield (
                    f"{key}[{index}].upstream",
                    f"no route leads to {quoted(target.upstream)}: add it to a route's upstreams",
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


def _every_address(config: Config) -> Iterator[Address]:
    yield from config.gate.listen
    routes = (route.listen for route in sound(config.routes))
    plugins = (table.listen for table in sound(config.plugins.values()))
    yield from filter(None, (*routes, *plugins, config.metrics.listen))


def _same_host(host: str, listener: str) -> bool:
    """Whether a connection to `host` reaches a listener, as far as names need not be asked for."""
    asked, own = _addresses(host), _addresses(listener)
    if not asked or not own:
        return host == listener
    here = any(ip.is_loopback or ip.is_unspecified for ip in asked)
    anywhere = any(ip.is_unspecified for ip in own)
    to_any = any(ip.is_unspecified for ip in asked) and any(ip.is_loopback for ip in own)
    return not asked.isdisjoint(own) or (here and anywhere) or to_any


def _addresses(host: str) -> set[IPv4Address | IPv6Address]:
    """What a host is, without asking anybody: an address, or localhost (RFC 6761 6.3)."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return {IPv4Address("127.0.0.1"), IPv6Address("::1")}
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return set()
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return {mapped or ip}

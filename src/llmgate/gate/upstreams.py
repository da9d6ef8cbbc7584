"""Upstreams of gate.toml in the words of the proxy, and what layers have to know of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..backends.context_length import ContextLengths
from ..backends.dialect import DIALECTS
from ..backends.serving import Serving
from ..backends.token_counter import TokenCounter
from ..config import Name, Upstream
from ..proxy import upstreams
from ..proxy.admission import QueueSettings
from ..proxy.asgi_upstream import ORIGIN
from ..proxy.balance import Balance, by_caller, by_prompt
from ..proxy.circuit_breaker import BreakerSettings
from ..proxy.engines.base import Timeouts
from ..proxy.health import HealthSettings
from .from_config import aliases_of

if TYPE_CHECKING:
    from ..proxy.admission import Admissions
    from ..proxy.engines.base import Engine
    from ..proxy.replica import Replicas


Upstreams = Mapping[Name, upstreams.Upstream]


def serving_of(upstream: upstreams.Upstream, settings: Upstream) -> Serving:
    """What the layers have to know of an upstream."""
    dialect = upstream.dialect
    return Serving(
        upstream=upstream.name,
        dialect=dialect,
        context_length=settings.context_length,
        context=ContextLengths(upstream, dialect),
        max_output_tokens=settings.max_output_tokens,
        count=TokenCounter(upstream, dialect),
    )


def upstream_of(
    name: str,
    settings: Upstream,
    engine: Engine,
    known: Replicas | None = None,
    admissions: Admissions | None = None,
    *,
    workers: int = 1,
) -> upstreams.Upstream:
    """An upstream as `settings` describe it, on `engine`.

    `known` are the replicas of the process, `admissions` the places at them, which it shares with other `workers`.
    """
    queue = queue_of(settings, workers)
    return upstreams.Upstream(
        name,
        [ORIGIN] if settings.is_asgi_app else settings.urls,
        engine=engine,
        timeouts=Timeouts(
            settings.connect_timeout,
            settings.first_byte_timeout,
            settings.idle_timeout,
            settings.heartbeat_interval,
        ),
        api_key=settings.api_key.reveal() if settings.api_key is not None else None,
        api_key_header=settings.api_key_header,
        headers={name: value.reveal() for name, value in settings.headers.items()},
        models=aliases_of(settings),
        breaker=BreakerSettings(
            settings.breaker.failures, settings.breaker.open_for, frozenset(settings.breaker.statuses)
        ),
        retry_statuses=settings.retry_statuses,
        known=known,
        dialect=DIALECTS[settings.dialect],
        admission=None if admissions is None else admissions.get(name, queue),
        queue=queue,
        balance=_BALANCES[settings.balance](settings),
    )


def queue_of(settings: Upstream, workers: int = 1) -> QueueSettings:
    """Who waits for a replica, in the proxy's words: each worker has its part of the places."""
    most, queue = settings.max_in_flight, settings.queue
    weights = {str(tenant): weight for tenant, weight in queue.weights.items()}
    places = None if most is None else max(1, most // workers)
    return QueueSettings(places, queue.max, queue.timeout, queue.per, weights)


_BALANCES: Mapping[str, Callable[[Upstream], Balance | None]] = MappingProxyType(
    {
        "least_busy": lambda _: None,
        "prefix": lambda _: Balance(by_prompt),
        "sticky": lambda settings: Balance(by_caller(settings.sticky_header)),
    }
)


def health_of(settings: Upstream) -> HealthSettings | None:
    """How the replicas of an upstream are probed; None if they are not."""
    health, path = settings.health, health_path_of(settings)
    if not health.enabled or path is None:
        return None
    return HealthSettings(path, health.interval, health.timeout, health.rise, health.fall)


def health_path_of(settings: Upstream) -> str | None:
    """Where an upstream says how it is; None if it is not known to."""
    return settings.health.path or DIALECTS[settings.dialect].health_path

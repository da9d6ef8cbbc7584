"""The gate's Prometheus metrics: what is measured, under which names, with labels from closed sets.

Labels are route, upstream, model, status class and the like; never a user or a key. A model that gate.toml
does not name is counted as "other".
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from .exchange import Exchange
    from .ledger.ledger import Ledger
    from .proxy.upstreams import Upstream

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
GAP_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
OTHER = "other"


class Gaps:
    """The seconds between two pieces of one stream. Plain lists: observed on every piece of every stream."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(GAP_SECONDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one gap."""
        self.counts[bisect_left(GAP_SECONDS, seconds)] += 1
        self.total += seconds


class Instruments:
    """Everything the gate measures, in a registry of its own. Label children are bound once and kept."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._models: frozenset[str] = frozenset()
        self._gaps: dict[str, Gaps] = {}
        make: dict[str, Any] = {"registry": self.registry}
        self._requests = Counter(
            "llmgate_requests",
            "Requests, by how they were answered.",
            ["route", "upstream", "model", "status"],
            **make,
        )
        self._duration = Histogram(
            "llmgate_request_duration_seconds",
            "From the request's first byte to the end of its answer.",
            ["route"],
            buckets=SECONDS,
            **make,
        )
        self._first_byte = Histogram(
            "llmgate_first_byte_seconds",
            "From the request's first byte to the first byte of the answer's body.",
            ["route", "upstream"],
            buckets=SECONDS,
            **make,
        )
        self._tokens = Counter(
            "llmgate_tokens",
            "Tokens, by direction and by how the count was come by.",
            ["route", "upstream", "model", "direction", "certainty"],
            **make,
        )
        self._refused = Counter(
            "llmgate_refused",
            "Requests that the gate answered itself, by reason.",
            ["route", "reason"],
            **make,
        )
        self._in_flight = Gauge(
            "llmgate_requests_in_flight", "Requests being answered now.", ["route"], **make
        )
        self._state = _StateCollector()
        self.registry.register(_GapCollector(self._gaps))
        self.registry.register(self._state)
        # bound children, by the values they are bound to
        self.in_flight = cache(self._in_flight.labels)
        self._count = cache(self._requests.labels)
        self._last = cache(self._duration.labels)
        self._first = cache(self._first_byte.labels)
        self._used = cache(self._tokens.labels)
        self._refuse = cache(self._refused.labels)

    def gaps(self, route: str) -> Gaps:
        """The gaps of `route`'s streams."""
        gaps = self._gaps.get(route)
        if gaps is None:
            gaps = self._gaps[route] = Gaps()
        return gaps

    def observe(self, exchange: Exchange, ended: float) -> None:
        """Count a request that ended at `ended` (seconds of the monotonic clock)."""
        route, upstream = exchange.route, exchange.upstream or "-"
        model = exchange.model if exchange.model in self._models else OTHER if exchange.model else "-"
        status = f"{exchange.status // 100}xx" if exchange.status else "none"
        self._count(route, upstream, model, status).inc()
        self._last(route).observe(ended - exchange.started)
        if exchange.first_byte is not None:
            self._first(route, upstream).observe(exchange.first_byte - exchange.started)
        if exchange.refused is not None:
            self._refuse(route, exchange.refused).inc()
        if (reading := exchange.reading) is not None:
            usage, certainty = reading.usage, str(reading.certainty)
            self._used(route, upstream, model, "input", certainty).inc(usage.input_tokens)
            self._used(route, upstream, model, "output", certainty).inc(usage.output_tokens)

    def watch(self, ledger: Ledger, upstreams: Iterable[Upstream], models: Iterable[str]) -> None:
        """From now on show the state of `ledger` and `upstreams`, and count `models` under their names."""
        self._state.ledger = ledger
        self._state.upstreams = list(upstreams)
        self._models = frozenset(models)


class _GapCollector(Collector):
    def __init__(self, gaps: dict[str, Gaps]) -> None:
        self._gaps = gaps

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(
            "llmgate_chunk_gap_seconds", "Between two pieces of a streamed answer.", labels=["route"]
        )
        for route, gaps in list(self._gaps.items()):
            running, buckets = 0, []
            for bound, count in zip((*GAP_SECONDS, float("inf")), gaps.counts, strict=True):
                running += count
                buckets.append(("+Inf" if bound == float("inf") else str(bound), running))
            family.add_metric([route], buckets, gaps.total)
        yield family


class _StateCollector(Collector):
    def __init__(self) -> None:
        self.ledger: Ledger | None = None
        self.upstreams: list[Upstream] = []

    def describe(self) -> Iterator[GaugeMetricFamily]:
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        if self.ledger is not None:
            yield from self._ledger_state(self.ledger)
        yield from self._upstream_state()

    def _ledger_state(self, ledger: Ledger) -> Iterator[GaugeMetricFamily]:
        commits = ledger.commits
        yield GaugeMetricFamily(
            "llmgate_ledger_lag_seconds", "Age of the oldest usage record not yet committed.", commits.lag
        )
        yield GaugeMetricFamily(
            "llmgate_ledger_backlog", "Usage records not yet committed.", float(commits.backlog)
        )
        yield GaugeMetricFamily(
            "llmgate_ledger_up", "1 while the store takes usage records.", float(commits.failing is None)
        )
        accounts = GaugeMetricFamily(
            "llmgate_quota_accounts",
            "Quotas in use by this process, by whether any of it is left.",
            labels=["state"],
        )
        held = GaugeMetricFamily("llmgate_quota_held", "Held by running requests, by unit.", labels=["unit"])
        state = ledger.state()
        for name, number in state.accounts.items():
            accounts.add_metric([name], number)
        for unit, amount in state.held.items():
            held.add_metric([unit], amount)
        yield accounts
        yield held

    def _upstream_state(self) -> Iterator[GaugeMetricFamily]:
        labels = ["upstream", "replica"]
        up = GaugeMetricFamily("llmgate_upstream_up", "1 while a replica is healthy.", labels=labels)
        breaker = GaugeMetricFamily(
            "llmgate_upstream_breaker_open", "1 while its circuit is open.", labels=labels
        )
        running = GaugeMetricFamily("llmgate_upstream_in_flight", "Requests it is answering.", labels=labels)
        for upstream in self.upstreams:
            for replica in upstream.state():
                key = [upstream.name, replica.url]
                up.add_metric(key, float(replica.healthy))
                breaker.add_metric(key, float(replica.breaker != "closed"))
                running.add_metric(key, replica.in_flight)
        yield from (up, breaker, running)

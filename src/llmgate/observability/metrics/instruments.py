"""What measures: counters, gauges and histograms whose label children are bound once and kept."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from . import families as f
from .exposition import Exposition
from .shared_values import Key, SharedValues

if TYPE_CHECKING:
    from ...exchange import Exchange
    from ...ledger.ledger import Ledger
    from ...proxy.upstreams import Upstream
    from ..probes import Failing

OTHER = "other"
CLASSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")
GONE = math.nan
"""What a gauge holds whose thing is not there any more."""


class Number:
    """A counter or a gauge under one set of labels."""

    __slots__ = ("_cell",)

    def __init__(self, cell: memoryview[float]) -> None:
        self._cell = cell

    def inc(self, amount: float = 1.0) -> None:
        """Count up."""
        self._cell[0] += amount

    def dec(self) -> None:
        """Count one down again."""
        self._cell[0] -= 1.0


class Distribution:
    """A histogram under one set of labels."""

    __slots__ = ("_bounds", "_row")

    def __init__(self, row: memoryview[float], bounds: tuple[float, ...]) -> None:
        self._row = row
        self._bounds = bounds

    def observe(self, value: float) -> None:
        """Count one value."""
        row = self._row
        row[bisect_left(self._bounds, value)] += 1.0
        row[-1] += value


class Answers:
    """What every answer is counted in, under one set of labels: their number, their end and their first byte."""

    __slots__ = ("_end", "_first_byte", "_number")

    def __init__(
        self, number: memoryview[float], end: memoryview[float], first_byte: Callable[[], memoryview[float]]
    ) -> None:
        self._number = number
        self._end = end
        self._first_byte: memoryview[float] | Callable[[], memoryview[float]] = first_byte

    def observe(self, started: float, first_byte: float | None, ended: float) -> None:
        """Count one, by times of the monotonic clock."""
        self._number[0] += 1.0
        row, seconds = self._end, ended - started
        row[bisect_left(f.SECONDS, seconds)] += 1.0
        row[-1] += seconds
        if first_byte is not None:
            if callable(self._first_byte):  # nobody is shown a histogram of nothing
                self._first_byte = self._first_byte()
            row, seconds = self._first_byte, first_byte - started
            row[bisect_left(f.SECONDS, seconds)] += 1.0
            row[-1] += seconds


class Instruments:
    """Everything the gate measures, in a registry of its own. Label children are bound once and kept.

    `shared_values` are those that the workers of a host share; on its own, a process counts in its memory.
    """

    def __init__(self, shared_values: SharedValues | None = None) -> None:
        self.registry = CollectorRegistry()
        self._shared_values = shared_values or SharedValues.open(None)
        self._families = dict(f.FAMILIES)
        self._named: frozenset[str] = frozenset()
        self._models: frozenset[str] = frozenset()
        self._ledger: Ledger | None = None
        self._limits: Failing | None = None
        self._upstreams: list[Upstream] = []
        self._added: set[Upstream] = set()
        self._drift: dict[tuple[str, str], float] = {}
        self._connections: Callable[[], int] | None = None
        self._forget_gauges()
        self._exposition = Exposition(self._shared_values, self._families, self.refresh)
        self.registry.register(self._exposition)
        self.text = self._exposition.text
        # bound children, by the values they are bound to
        self.in_flight = cache(lambda route: self.number(f.IN_FLIGHT, route))
        self.gaps = cache(lambda route: self.distribution(f.GAPS, route))
        self._answers: dict[tuple[str, ...], Answers] = {}
        self._used = cache(
            lambda route, upstream, model, certainty: [
                self.number(f.TOKENS, route, upstream, model, direction, str(certainty))
                for direction in ("input", "output")
            ]
        )
        self._refuse = cache(lambda *labels: self.number(f.REFUSED, *labels))
        self._waits = cache(lambda *labels: self.distribution(f.QUEUE_WAIT, *labels))
        self._turned_away = cache(lambda *labels: self.number(f.QUEUE_LEFT, *labels))
        self.log_dropped = cache(lambda log: self.number(f.LOG_DROPPED, log))
        self.connections_closed = cache(lambda reason: self.number(f.CONNECTIONS_CLOSED, reason))
        self.loop_lag = cache(lambda: self.distribution(f.LOOP_LAG))

    def declare(self, family: f.Family) -> f.Family:
        """Show a metric that is none of the gate's own; returns the one that there is of this name already."""
        return self._families.setdefault(family.name, family)

    def observe(self, exchange: Exchange, ended: float) -> None:
        """Count a request that ended at `ended` (seconds of the monotonic clock)."""
        route, upstream, model, status = (
            exchange.route,
            exchange.upstream or "-",
            exchange.model,
            exchange.status,
        )
        if model not in self._models:
            model = OTHER if model else "-"
        if not status:
            answered = "none"  # the client left before an answer began
        else:
            answered = CLASSES[status // 100] if exchange.complete and not exchange.broke_off else "cut"
        answers = self._answers.get((route, upstream, model, answered))
        if answers is None:
            answers = self._bind_answers(route, upstream, model, answered)
        answers.observe(exchange.started, exchange.first_byte, ended)
        if exchange.refused is not None:
            self._refuse(route, exchange.refused).inc()
        if (reading := exchange.reading) is not None:
            input_tokens, output_tokens = self._used(route, upstream, model, reading.certainty)
            input_tokens.inc(reading.usage.input_tokens)
            output_tokens.inc(reading.usage.output_tokens)

    def _bind_answers(self, *labels: str) -> Answers:
        route, upstream, _, _ = labels
        answers = self._answers[labels] = Answers(
            self._shared_values.row((f.REQUESTS.name, *labels)),
            self._shared_values.row((f.DURATION.name, route), f.DURATION.width),
            lambda: self._shared_values.row((f.FIRST_BYTE.name, route, upstream), f.FIRST_BYTE.width),
        )
        return answers

    def waited(self, upstream: str, priority: int, seconds: float) -> None:
        """See `proxy.admission.Observer`."""
        self._waits(upstream, str(priority)).observe(seconds)

    def turned_away(self, upstream: str, priority: int, reason: str) -> None:
        """See `proxy.admission.Observer`."""
        self._turned_away(upstream, str(priority), reason).inc()

    def watch(
        self,
        ledger: Ledger,
        upstreams: Iterable[Upstream],
        models: Iterable[str],
        limits: Failing | None = None,
    ) -> None:
        """From now on show the state of `ledger`, `upstreams`, and of the store of `limits`, if there is one.

        `models` are counted under their names, and so are those that the upstreams say they serve.
        """
        self._ledger = ledger
        self._upstreams = list(upstreams)
        self._limits = limits
        self._named = self._models = frozenset(models)

    def show(self, upstream: Upstream) -> None:
        """Show the state of an upstream that is not in gate.toml, too."""
        self._added.add(upstream)

    def hide(self, upstream: Upstream) -> None:
        """No longer show what `show` was told of."""
        self._added.discard(upstream)

    def watch_connections(self, count: Callable[[], int]) -> None:
        """From now on show how many connections `count` says are open."""
        self._connections = count

    def drift(self, upstream: str, direction: str, tokens: float) -> None:
        """Show by how much the ledger and an upstream's own counters are apart."""
        self._drift[upstream, direction] = tokens

    def refresh(self) -> None:
        """Write down the state as it is now, for whichever worker is scraped next."""
        served = (upstream.model_names for upstream in (*self._upstreams, *self._added))
        self._models = self._named.union(*served)
        current = dict(self._state())
        for row in self._shared_values.own():
            name = row.key[0]
            if name in f.FAMILIES and f.FAMILIES[name].kind == "gauge" and name != f.IN_FLIGHT.name:
                row.values[0] = current.pop(row.key, GONE)
        for key, value in current.items():
            self._shared_values.row(key)[0] = value

    def _state(self) -> Iterator[tuple[Key, float]]:
        if self._ledger is not None:
            yield from _ledger_state(self._ledger)
        if self._limits is not None:
            yield (f.LIMITS_UP.name,), float(self._limits.failing is None)
        for upstream in (*self._upstreams, *self._added):
            for replica in upstream.state():
                labels = (upstream.name, replica.url)
                yield (f.UPSTREAM_UP.name, *labels), float(replica.healthy)
                yield (f.KEY_REFUSED.name, *labels), float(replica.key_refused)
                yield (f.BREAKER.name, *labels), float(replica.breaker != "closed")
                yield (f.RUNNING.name, *labels), float(replica.in_flight)
            if upstream.admission is not None:
                for priority, waiting in upstream.admission.lengths().items() or ((0, 0),):
                    yield (f.QUEUED.name, upstream.name, str(priority)), float(waiting)
        if self._connections is not None:
            yield (f.CONNECTIONS.name,), float(self._connections())
        for (upstream_name, direction), tokens in self._drift.items():
            yield (f.DRIFT.name, upstream_name, direction), tokens

    def _forget_gauges(self) -> None:
        """What a dead process had in flight ended with it."""
        for row in self._shared_values.own():
            if row.key[0] in f.FAMILIES and f.FAMILIES[row.key[0]].kind == "gauge":
                row.values[0] = 0.0 if row.key[0] == f.IN_FLIGHT.name else GONE

    def number(self, family: f.Family, *labels: str) -> Number:
        """The counter of `family` under these values of its labels."""
        return Number(self._shared_values.row((family.name, *labels)))

    def distribution(self, family: f.Family, *labels: str) -> Distribution:
        """The histogram of `family` under these values of its labels."""
        return Distribution(self._shared_values.row((family.name, *labels), family.width), family.bounds)


def _ledger_state(ledger: Ledger) -> Iterator[tuple[Key, float]]:
    commits, state = ledger.commits, ledger.state()
    yield (f.LAG.name,), commits.lag
    yield (f.BACKLOG.name,), float(commits.backlog)
    yield (f.LEDGER_UP.name,), float(commits.failing is None)
    for name, number in state.accounts.items():
        yield (f.ACCOUNTS.name, name), float(number)
    for unit, amount in state.held.items():
        yield (f.HELD.name, unit), float(amount)

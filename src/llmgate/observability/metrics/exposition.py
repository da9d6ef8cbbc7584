"""What Prometheus is told: the rows of all workers of a host, made one."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import TypeAlias

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from .families import Family
from .shared_values import Key, SharedValues

Rows: TypeAlias = "dict[Key, list[memoryview[float]]]"

ROWS_AT_ONCE = 200
SAMPLES_AT_ONCE = 200
"""Before others have their turn: 1 to 2 ms."""


class Exposition(Collector):
    """Adds up the rows in `shared_values` of all `families`, after `refresh` has written down this process's state."""

    def __init__(
        self, shared_values: SharedValues, families: Mapping[str, Family], refresh: Callable[[], None]
    ) -> None:
        self._shared_values = shared_values
        self._families = families
        self._refresh = refresh

    def describe(self) -> Iterator[Metric]:
        """Nothing that would have to be collected first."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Every metric as it stands now."""
        self._refresh()
        found = self._found()
        deque(self._gather(found), maxlen=0)
        for name, rows in found.items():
            yield _exposed(self._families[name], rows)

    async def text(self) -> bytes:
        """What `generate_latest` makes of it, for an event loop that has others to serve: 200 models take 20 ms."""
        self._refresh()
        found, pieces = self._found(), []
        for number in self._gather(found):
            if number % ROWS_AT_ONCE == 0:
                await asyncio.sleep(0)
        for name, rows in found.items():
            family, left = self._families[name], iter(rows.items())
            most = max(1, SAMPLES_AT_ONCE // family.width)
            pieces.append(generate_latest(_One(_exposed(family, dict(islice(left, most))))))
            while part := dict(islice(left, most)):
                await asyncio.sleep(0)
                lines = generate_latest(_One(_exposed(family, part)))
                pieces.append(lines.split(b"\n", 2)[2])  # HELP and TYPE are told once
            await asyncio.sleep(0)
        return b"".join(pieces)

    def _found(self) -> dict[str, Rows]:
        return {name: {} for name in self._families}

    def _gather(self, found: dict[str, Rows]) -> Iterator[int]:
        """Put every row into `found`; yields how many were looked at so far."""
        for number, ((name, *labels), values, lives) in enumerate(self._shared_values.all(), start=1):
            family = self._families[name] if name in found else None
            if family is not None and len(values) == family.width and (lives or family.kind != "gauge"):
                found[name].setdefault(tuple(labels), []).append(values)
            yield number


class _One(Collector):
    """A registry of one metric."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        """The metric."""
        yield self._metric


def _exposed(family: Family, rows: dict[Key, list[memoryview[float]]]) -> Metric:
    match family.kind:
        case "counter":
            counter = CounterMetricFamily(family.name, family.documentation, labels=family.labels)
            for labels, numbers in rows.items():
                counter.add_metric(labels, sum(number[0] for number in numbers))
            return counter
        case "gauge":
            gauge = GaugeMetricFamily(family.name, family.documentation, labels=family.labels)
            for labels, numbers in rows.items():
                if there := [number[0] for number in numbers if not math.isnan(number[0])]:
                    gauge.add_metric(labels, family.merge(there))
            return gauge
        case "histogram":
            histogram = HistogramMetricFamily(family.name, family.documentation, labels=family.labels)
            for labels, numbers in rows.items():
                *counts, total = (sum(column) for column in zip(*numbers, strict=True))
                histogram.add_metric(labels, _buckets(family.bounds, counts), total)
            return histogram


def _buckets(bounds: tuple[float, ...], counts: list[float]) -> list[tuple[str, float]]:
    running, buckets = 0.0, []
    for bound, number in zip((*map(str, bounds), "+Inf"), counts, strict=True):
        running += number
        buckets.append((bound, running))
    return buckets

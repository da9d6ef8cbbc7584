"""What Prometheus is told: the rows of all workers of a host, made one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from .families import Family
from .shared_values import Key, SharedValues


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
        found: dict[str, dict[Key, list[memoryview[float]]]] = {name: {} for name in self._families}
        for (name, *labels), values, lives in self._shared_values.all():
            family = self._families.get(name)
            if family is not None and len(values) == family.width and (lives or family.kind != "gauge"):
                found[name].setdefault(tuple(labels), []).append(values)
        for name, rows in found.items():
            yield _exposed(self._families[name], rows)


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

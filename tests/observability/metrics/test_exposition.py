"""The rows of all workers of a host, as Prometheus reads them."""

import asyncio
import math
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from llmgate.observability.metrics import exposition
from llmgate.observability.metrics.exposition import Exposition
from llmgate.observability.metrics.families import Family

COUNTER = Family("counter", "llmgate_a", "Counts.", ("route",))
GAUGE = Family("gauge", "llmgate_b", "Now.", merge=max)
HISTOGRAM = Family("histogram", "llmgate_c_seconds", "How long.", (), (1.0, 2.0))
FAMILIES = {family.name: family for family in (COUNTER, GAUGE, HISTOGRAM)}


class Rows:
    """Rows of several workers: key, numbers, and whether the process lives."""

    def __init__(self, *rows: tuple[tuple[str, ...], list[float], bool]) -> None:
        self.rows = rows

    def all(self) -> Any:
        return iter(self.rows)


def shown(*rows: tuple[tuple[str, ...], list[float], bool]) -> dict[str, float]:
    refreshed: list[int] = []
    registry = CollectorRegistry()
    values: Any = Rows(*rows)
    registry.register(Exposition(values, FAMILIES, lambda: refreshed.append(1)))
    text = generate_latest(registry).decode()
    assert refreshed == [1], "the state of this process is written down once for each reading"
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_counters_add_up_those_of_dead_workers_too() -> None:
    rows = [(("llmgate_a", "/v1"), [2.0], True), (("llmgate_a", "/v1"), [3.0], False)]
    assert shown(*rows, (("llmgate_a", "/x"), [1.0], True)) == {
        'llmgate_a_total{route="/v1"}': 5.0,
        'llmgate_a_total{route="/x"}': 1.0,
    }


def test_what_a_dead_worker_had_is_over() -> None:
    assert shown((("llmgate_b",), [5.0], True), (("llmgate_b",), [9.0], False)) == {"llmgate_b": 5.0}


def test_a_gauge_whose_thing_is_gone_is_not_shown() -> None:
    assert shown((("llmgate_b",), [math.nan], True)) == {}


def test_buckets_of_a_histogram_are_running_sums() -> None:
    rows = [(("llmgate_c_seconds",), [1.0, 2.0, 3.0, 20.0], True)] * 2
    assert shown(*rows) == {
        'llmgate_c_seconds_bucket{le="1.0"}': 2.0,
        'llmgate_c_seconds_bucket{le="2.0"}': 6.0,
        'llmgate_c_seconds_bucket{le="+Inf"}': 12.0,
        "llmgate_c_seconds_count": 12.0,
        "llmgate_c_seconds_sum": 40.0,
    }


def test_rows_of_another_version_are_passed_over() -> None:
    """A worker that is being replaced may know other metrics, or other buckets."""
    assert shown((("llmgate_gone",), [1.0], True), (("llmgate_c_seconds",), [1.0], True)) == {}


@pytest.mark.parametrize("at_once", [1, 3, 1000])
async def test_in_turns_with_others_it_is_the_same_text(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many turns it takes, each family is told of once, those without a row as well."""
    monkeypatch.setattr(exposition, "ROWS_AT_ONCE", at_once)
    monkeypatch.setattr(exposition, "SAMPLES_AT_ONCE", at_once)
    counters = [(("llmgate_a", f"/{number}"), [float(number)], True) for number in range(7)]
    values: Any = Rows(*counters, (("llmgate_c_seconds",), [1.0, 2.0, 3.0, 20.0], True))
    refreshed: list[int] = []
    shown = Exposition(values, FAMILIES, lambda: refreshed.append(1))
    registry = CollectorRegistry()
    registry.register(shown)
    assert await shown.text() == generate_latest(registry)
    assert len(refreshed) == 2


async def test_a_metric_that_is_declared_meanwhile_is_in_the_next_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exposition, "ROWS_AT_ONCE", 1)
    families = {COUNTER.name: COUNTER}
    values: Any = Rows((("llmgate_a", "/"), [1.0], True), (("llmgate_b",), [2.0], True))
    text = asyncio.create_task(Exposition(values, families, lambda: None).text())
    await asyncio.sleep(0)
    families[GAUGE.name] = GAUGE
    assert b"llmgate_b" not in await text

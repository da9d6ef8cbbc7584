"""One scrape answers for all workers of a host."""

from pathlib import Path

import pytest

from llmgate.exchange import Exchange
from llmgate.observability.metrics import Instruments, SharedValues


def answered(instruments: Instruments, seconds: float, status: int = 200) -> None:
    exchange = Exchange("id", started=0.0, route="chat", upstream="vllm", status=status)
    exchange.complete = True
    instruments.observe(exchange, ended=seconds)


def value(instruments: Instruments, name: str, **labels: str) -> float | None:
    return instruments.registry.get_sample_value(name, labels)


def test_counters_and_histograms_of_two_workers_are_one_sum_at_either(tmp_path: Path) -> None:
    one, two = Instruments(SharedValues.open(tmp_path)), Instruments(SharedValues.open(tmp_path))
    answered(one, 0.2)
    answered(two, 0.2)
    answered(two, 2.0)
    for scraped in (one, two):
        labels = {"route": "chat", "upstream": "vllm", "model": "-", "status": "2xx"}
        assert value(scraped, "llmgate_requests_total", **labels) == 3
        assert value(scraped, "llmgate_request_duration_seconds_sum", route="chat") == pytest.approx(2.4)
        assert value(scraped, "llmgate_request_duration_seconds_bucket", route="chat", le="0.25") == 2
        assert value(scraped, "llmgate_request_duration_seconds_count", route="chat") == 3


def test_what_a_dead_worker_had_in_flight_is_over_and_its_counts_stay(tmp_path: Path) -> None:
    shared_values = SharedValues.open(tmp_path)
    dead, alive = Instruments(shared_values), Instruments(SharedValues.open(tmp_path))
    dead.in_flight("chat").inc()
    alive.in_flight("chat").inc()
    answered(dead, 1.0)
    assert value(alive, "llmgate_requests_in_flight", route="chat") == 2
    shared_values.close()
    assert value(alive, "llmgate_requests_in_flight", route="chat") == 1
    assert value(alive, "llmgate_request_duration_seconds_count", route="chat") == 1
    Instruments(SharedValues.open(tmp_path))
    assert value(alive, "llmgate_requests_in_flight", route="chat") == 1


def test_drift_is_that_of_whichever_worker_compares(tmp_path: Path) -> None:
    one, two = Instruments(SharedValues.open(tmp_path)), Instruments(SharedValues.open(tmp_path))
    one.drift("vllm", "output", -3.0)
    one.refresh()
    assert value(two, "llmgate_reconcile_drift_tokens", upstream="vllm", direction="output") == -3


def test_a_gauge_whose_thing_is_gone_is_not_shown(tmp_path: Path) -> None:
    instruments = Instruments(SharedValues.open(tmp_path))
    instruments.drift("vllm", "output", 1.0)
    assert value(instruments, "llmgate_reconcile_drift_tokens", upstream="vllm", direction="output") == 1
    again = Instruments(instruments._shared_values)
    assert value(again, "llmgate_reconcile_drift_tokens", upstream="vllm", direction="output") is None

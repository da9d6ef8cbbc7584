"""Counters and histograms of plugins: labels from closed sets, one metric for all workers and all who declare it."""

from pathlib import Path

import pytest
from prometheus_client import generate_latest

from llmgate.errors import ConfigError
from llmgate.observability.metrics import Instruments, PluginMetrics, SharedValues


def test_what_a_label_does_not_allow_is_other() -> None:
    instruments = Instruments()
    metrics = PluginMetrics(instruments)
    made = metrics.counter("reports_made_total", "Reports.", kind=("a", "b"), status=("done", "failed"))
    made.labels("a", "done").inc()
    made.labels("a", "done").inc(2)
    made.labels("made up by a caller", "failed").inc()
    text = generate_latest(instruments.registry).decode()
    assert 'reports_made_total{kind="a",status="done"} 3.0' in text
    assert 'reports_made_total{kind="other",status="failed"} 1.0' in text
    with pytest.raises(ValueError, match="longer"):
        made.labels("a")


def test_a_histogram_without_labels() -> None:
    instruments = Instruments()
    took = PluginMetrics(instruments).histogram("job_seconds", "A job.", bounds=(1.0, 2.0))
    took.labels().observe(1.5)
    text = generate_latest(instruments.registry).decode()
    assert 'job_seconds_bucket{le="1.0"} 0.0' in text and 'job_seconds_bucket{le="2.0"} 1.0' in text
    assert "job_seconds_sum 1.5" in text


def test_workers_count_together_and_two_that_declare_the_same_share_it(tmp_path: Path) -> None:
    here, there = SharedValues.open(tmp_path), SharedValues.open(tmp_path)
    try:
        first, second = Instruments(here), Instruments(there)
        for instruments in (first, first, second):
            PluginMetrics(instruments).counter("jobs", "Jobs.", end=("well",)).labels("well").inc()
        assert 'jobs_total{end="well"} 3.0' in generate_latest(first.registry).decode()
    finally:
        here.close()
        there.close()


def test_a_name_is_one_metric_and_none_of_the_gates_own() -> None:
    metrics = PluginMetrics(Instruments())
    metrics.counter("jobs", "Jobs.")
    with pytest.raises(ConfigError, match="another plugin"):
        metrics.histogram("jobs", "Jobs.")
    for name in ("llmgate_requests", "jobs-done", "Jobs", ""):
        with pytest.raises(ConfigError, match="small letters"):
            metrics.counter(name, "Jobs.")

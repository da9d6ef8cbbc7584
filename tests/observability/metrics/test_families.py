"""Every metric, as data."""

import math

import pytest

from llmgate.observability.metrics.families import FAMILIES, Family


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_a_metric_is_named_as_prometheus_asks(family: Family) -> None:
    """https://prometheus.io/docs/practices/naming/: one prefix, a unit at the end, `_total` put there by the client."""
    assert family.name.startswith("llmgate_")
    assert not family.name.endswith(("_total", "_count", "_sum", "_bucket"))
    assert family.documentation.endswith(".")
    assert (family.kind == "histogram") == bool(family.bounds)
    if family.kind == "histogram":
        assert family.name.endswith("_seconds")


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_a_histograms_bounds_rise_and_leave_room_for_the_rest(family: Family) -> None:
    assert list(family.bounds) == sorted(set(family.bounds))
    assert math.inf not in family.bounds
    assert family.width == (len(family.bounds) + 2 if family.bounds else 1)


def test_a_metric_is_found_by_its_name() -> None:
    assert all(name == family.name for name, family in FAMILIES.items())


def test_what_is_up_is_up_where_every_worker_finds_it_so() -> None:
    """And what is late is as late as the latest."""
    assert FAMILIES["llmgate_upstream_up"].merge([1, 0]) == 0
    assert FAMILIES["llmgate_ledger_lag_seconds"].merge([1, 3]) == 3
    assert FAMILIES["llmgate_requests_in_flight"].merge([1, 3]) == 4

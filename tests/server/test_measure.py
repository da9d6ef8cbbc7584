"""What the server shows of itself."""

from collections import Counter
from typing import Any

from llmgate.observability.metrics import Instruments
from llmgate.server.measure import ServerMetrics


class Listens:
    """A listener that has so many connections, and has ended others."""

    def __init__(self, open_connections: int, **ended: int) -> None:
        self.open_connections = open_connections
        self.ended = Counter(ended)


def samples(instruments: Instruments, prefix: str) -> dict[str, float]:
    return {
        sample.name + "".join(sample.labels.values()): sample.value
        for metric in instruments.registry.collect()
        for sample in metric.samples
        if sample.name.startswith(prefix)
    }


def test_each_end_of_a_connection_is_counted_once_and_the_open_ones_are_shown() -> None:
    instruments = Instruments()
    one: Any = Listens(3, evicted=2)
    other: Any = Listens(1, timed_out=1)
    metrics = ServerMetrics(instruments, lambda: [one, other])
    metrics.measure(lag=0.0)
    one.ended["evicted"] += 1
    metrics.measure(lag=0.0)
    assert samples(instruments, "llmgate_connections") == {
        "llmgate_connections": 4.0,
        "llmgate_connections_closed_totalevicted": 3.0,
        "llmgate_connections_closed_totaltimed_out": 1.0,
    }


def test_how_late_the_loop_is_has_a_histogram() -> None:
    instruments = Instruments()
    metrics = ServerMetrics(instruments, list)
    metrics.measure(lag=0.3)
    metrics.measure(lag=-0.0001)  # a timer may be early by the clock's grain
    lags = samples(instruments, "llmgate_event_loop_lag_seconds")
    assert lags["llmgate_event_loop_lag_seconds_count"] == 2.0
    assert lags["llmgate_event_loop_lag_seconds_sum"] == 0.3

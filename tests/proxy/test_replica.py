"""What is kept of one server of an upstream, and for how long."""

import gc
import logging

import pytest

from llmgate.proxy.circuit_breaker import BreakerSettings
from llmgate.proxy.engines.base import Origin
from llmgate.proxy.replica import Replica, Replicas, ReplicaState

A = Origin.parse("http://a:8000")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [(None, 1), (b"0", 1), (b"5", 5), (b"3600", 10), (b"9" * 40, 10), (b"Wed, 21 Oct 2026 07:28:00 GMT", 1)],
)
def test_a_busy_replica_is_busy_for_as_long_as_it_says_within_bounds(
    retry_after: bytes | None, seconds: float
) -> None:
    clock = Clock()
    replica = Replica(A, BreakerSettings(), clock)
    replica.is_busy(retry_after)
    clock.now = seconds - 0.01
    assert replica.busy
    clock.now = seconds
    assert not replica.busy


def test_one_that_is_late_or_has_answered_since_serves_though_it_was_taken_out() -> None:
    """The gate stays ready for it: see probes."""
    replica = Replica(A, BreakerSettings(failures=1), Clock())
    replica.take_out(late=True)
    assert (replica.healthy, replica.serves) == (False, True)
    replica.take_out(late=False)
    assert not replica.serves
    replica.answered = True
    assert replica.serves
    replica.breaker.failed(probe=False)
    assert not replica.serves


def test_a_refused_key_is_logged_as_an_error_once_a_minute_and_its_end_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    replica = Replica(A, BreakerSettings(), clock)
    for clock.now in (0, 30, 59, 61):
        replica.refuses_key("vllm", "status 401")
    assert ReplicaState.of(replica).key_refused
    assert not replica.serves
    replica.takes_key("vllm")
    replica.takes_key("vllm")
    levels = [record.levelname for record in caplog.records]
    assert levels == ["ERROR", "ERROR", "INFO"]
    assert "correct its api_key" in caplog.messages[0]


def test_a_replica_is_known_for_as_long_as_an_upstream_has_it() -> None:
    known = Replicas()
    first = known.get("vllm", A, BreakerSettings(), Clock())
    assert known.get("vllm", A, BreakerSettings(), Clock()) is first
    first.take_out(late=False)
    del first
    gc.collect()
    assert known.get("vllm", A, BreakerSettings(), Clock()).healthy

"""The order in which replicas are asked."""

import pytest

from llmgate.proxy.circuit_breaker import BreakerSettings
from llmgate.proxy.engines.base import Origin
from llmgate.proxy.replica import Replica
from llmgate.proxy.selection import BUSY, LeastBusy


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def replicas() -> list[Replica]:
    clock = Clock()
    settings = BreakerSettings(failures=1)
    return [Replica(Origin.parse(f"http://{host}:8000"), settings, clock) for host in "abcd"]


def test_tiers_come_before_numbers_in_flight(replicas: list[Replica]) -> None:
    """Good, then busy, then one that refuses the gate's key, then one that health checks took out."""
    good, busy, refusing, ill = replicas
    good.in_flight = 1000
    busy.is_busy(None)
    refusing.key_refused = True
    ill.take_out(late=True)
    tried: list[Replica] = []
    selection = LeastBusy(replicas)
    while (replica := selection.choose(tried)) is not None:
        tried.append(replica)
    assert tried == [good, busy, refusing, ill]
    assert selection.choose([good, busy], worst=BUSY) is None


def test_an_open_breaker_takes_no_requests_whatever_else_is_left(replicas: list[Replica]) -> None:
    for replica in replicas:
        replica.breaker.failed(probe=False)
    assert LeastBusy(replicas).choose() is None


def test_equals_take_turns(replicas: list[Replica]) -> None:
    selection = LeastBusy(replicas)
    chosen = [selection.choose() for _ in range(8)]
    assert set(chosen[:4]) == set(replicas)
    assert chosen[:4] == chosen[4:]

"""When a breaker opens, for how long, and who closes it; what it means for requests is in test_upstreams."""

from llmgate.proxy.circuit_breaker import Breaker, BreakerSettings


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def breaker(clock: Clock) -> Breaker:
    """A breaker that one failure has opened, for 10 s."""
    breaker = Breaker(BreakerSettings(failures=1, open_for=10), clock)
    breaker.failed(probe=breaker.admit())
    return breaker


def test_failed_probe_opens_again_for_the_whole_time() -> None:
    clock = Clock()
    half_open = breaker(clock)
    clock.now = 11
    assert half_open.ready()
    half_open.failed(probe=half_open.admit())
    assert half_open.wait() == 10


def test_abandoned_probe_makes_room_for_another() -> None:
    """A client that leaves proves nothing about the replica."""
    clock = Clock()
    half_open = breaker(clock)
    clock.now = 10
    probe = half_open.admit()
    assert not half_open.ready()
    half_open.abandoned(probe=probe)
    assert half_open.ready()


def test_failure_of_an_older_request_neither_ends_a_probe_nor_prolongs_the_rest() -> None:
    clock = Clock()
    opened = breaker(clock)
    clock.now = 5
    opened.failed(probe=False)
    assert opened.wait() == 5
    clock.now = 10
    assert opened.admit()
    opened.failed(probe=False)
    opened.abandoned(probe=False)
    assert not opened.ready()


def test_a_good_health_check_closes_a_half_open_breaker_and_no_open_one() -> None:
    """So no caller need be the one who tries: after an outage nobody may come for long."""
    clock = Clock()
    opened = breaker(clock)
    clock.now = 5
    opened.health_check_passed()
    assert opened.state == "open"
    clock.now = 10
    assert opened.state == "half_open"
    opened.health_check_passed()
    assert opened.state == "closed"


def test_503_is_no_failure_by_default() -> None:
    """vLLM says it when its queue is full."""
    assert not BreakerSettings().statuses & {429, 503, 529}

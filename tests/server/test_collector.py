"""The collector looks at everything when nobody has to wait for it, and when memory grows without a reason."""

import gc
from collections.abc import Iterator

import pytest
from stores import Clock

from llmgate.server.collector import (
    FULL_EVERY_S,
    MAX_GROWTH_BYTES,
    QUIET,
    REQUEST_BYTES,
    THRESHOLDS,
    Collector,
    peak_bytes,
)


class Process:
    """What a collector sees of one."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.bytes = 10**8
        self.clock = Clock(0.0)
        self.looks = 0
        self.collector = Collector(
            lambda: self.in_flight, memory=lambda: self.bytes, collect=self.collect, clock=self.clock
        )

    def collect(self) -> None:
        self.looks += 1

    def after(self, seconds: float) -> int:
        """How often everything was looked at, `seconds` later."""
        self.clock.pass_by(seconds)
        self.collector.look()
        return self.looks


def test_while_little_is_under_way_it_looks_once_in_a_minute() -> None:
    process = Process()
    process.in_flight = QUIET
    assert [process.after(seconds) for seconds in (FULL_EVERY_S - 1, 1, FULL_EVERY_S - 1, 1)] == [0, 1, 1, 2]


def test_a_crowd_is_not_stopped_for_it_however_long_it_stays() -> None:
    process = Process()
    process.in_flight = 10_000
    process.bytes += 10_000 * REQUEST_BYTES
    assert process.after(100 * FULL_EVERY_S) == 0
    process.in_flight = 0
    assert process.after(1) == 1


def test_memory_that_nothing_explains_is_looked_for_in_a_crowd_too() -> None:
    """Circles that a plugin leaves cannot fill the machine."""
    process = Process()
    process.in_flight = 1_000
    process.bytes += 1_000 * REQUEST_BYTES + MAX_GROWTH_BYTES
    assert process.after(1) == 0
    process.bytes += 1
    assert [process.after(1), process.after(1)] == [1, 1]


@pytest.fixture
def collecting() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.mark.usefixtures("collecting")
def test_what_is_there_at_the_start_is_not_looked_at_again() -> None:
    Collector.begin()
    assert gc.get_threshold() == THRESHOLDS
    assert gc.get_freeze_count() > 1_000


def test_the_memory_is_this_process() -> None:
    assert peak_bytes() > 10_000_000

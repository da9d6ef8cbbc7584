"""That limits cannot be counted is said: once, now and then while it lasts, and when it is over."""

import pytest
from stores import Clock

from llmgate.ratelimit.availability import Availability


def test_an_error_once_a_minute_and_one_line_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    store = Availability(clock)
    for seconds in (0, 1, 58, 2):
        clock.now += seconds
        store.failed("redis: away")
        assert store.failing == "redis: away"
    store.answered()
    store.answered()
    assert store.failing is None
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR", "WARNING"]
    store.failed("redis: away again")
    assert "redis: away again" in caplog.messages[-1]

"""A limit, its window, and what is told of several."""

import pytest
from stores import Clock

from llmgate.ratelimit.limit import Limit, Stand, TokenWindow, told, window_of
from llmgate.ratelimit.memory import MemoryStorage

REQUESTS, TOKENS = Limit("key", "requests", 2), Limit("key", "tokens", 10)


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage(timer=Clock(0.0))


@pytest.mark.parametrize("moving", [False, True])
async def test_requests_are_counted_before_they_run(storage: MemoryStorage, moving: bool) -> None:
    window = window_of(Limit("key", "requests", 2, moving=moving), storage)
    stands = [await window.enter("ann") for _ in range(3)]
    assert [(stand.good, stand.remaining) for stand in stands] == [(True, 1), (True, 0), (False, 0)]
    assert (await window.enter("bob")).good


async def test_tokens_close_a_window_once_they_are_counted(storage: MemoryStorage) -> None:
    window = window_of(TOKENS, storage)
    assert isinstance(window, TokenWindow)
    assert (await window.enter("ann")).remaining == 10
    await window.count("ann", 12)
    assert (await window.enter("ann")).good is False


def test_tokens_are_known_too_late_for_a_moving_window(storage: MemoryStorage) -> None:
    with pytest.raises(ValueError, match="known too late"):
        window_of(Limit("key", "tokens", 1, moving=True), storage)


async def test_limits_that_are_alike_but_for_their_name_are_counted_apart(storage: MemoryStorage) -> None:
    one, two = (window_of(Limit("key", "requests", 1, name=name), storage) for name in "ab")
    assert (await one.enter("ann")).good and (await two.enter("ann")).good


def stand(limit: Limit, remaining: int) -> Stand:
    return Stand(limit, True, remaining, 30.0)


def test_the_tightest_of_each_kind_is_told_and_the_tightest_of_all_without_a_kind() -> None:
    headers = told([stand(REQUESTS, 2), stand(REQUESTS, 1), stand(TOKENS, 0)], 1000.0)
    assert headers[b"x-ratelimit-remaining"] == b"0"
    assert headers[b"x-ratelimit-remaining-requests"] == b"1"
    assert headers[b"x-ratelimit-remaining-tokens"] == b"0"
    assert headers[b"x-ratelimit-reset"] == b"1030"


def test_who_has_passed_no_limit_is_told_of_none() -> None:
    assert told([], 0.0) == {}

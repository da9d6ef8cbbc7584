"""Strategies: the same counts by our verbs and by the library's, in our storages and in the library's."""

import time

import pytest
from limits import RateLimitItemPerMinute
from limits.aio import strategies as theirs
from limits.aio.storage import MemoryStorage as TheirStorage
from limits.aio.storage import Storage

from llmgate.errors import StoreError
from llmgate.ratelimit.leaky_bucket import LeakyBucket
from llmgate.ratelimit.memory import MemoryStorage
from llmgate.ratelimit.strategies import FixedWindow, ForeignWindows, MovingWindow, WindowItem

TWO = RateLimitItemPerMinute(2)


@pytest.fixture(params=[MemoryStorage, TheirStorage])
def storage(request: pytest.FixtureRequest) -> Storage:
    made: Storage = request.param()
    return made


async def test_a_fixed_window_tells_how_it_stands_with_every_count(storage: Storage) -> None:
    strategy = FixedWindow(storage)
    first = await strategy.count(TWO, "ann")
    assert (first.used, first.left) == (1, pytest.approx(60, abs=5))
    assert (await strategy.count(TWO, "ann", cost=4)).used == 5, "what is over is counted, too"
    assert (await strategy.peek(TWO, "ann")).used == 5
    assert await strategy.peek(TWO, "bob") == (0, 0.0)


async def test_a_moving_window_counts_only_what_goes_in(storage: Storage) -> None:
    strategy = MovingWindow(storage)
    entered = [await strategy.enter(TWO, "ann") for _ in range(3)]
    assert [(good, window.used) for good, window in entered] == [(True, 1), (True, 2), (False, 2)]
    assert all(window.left == pytest.approx(60, abs=5) for _, window in entered)


@pytest.mark.parametrize("strategy", [FixedWindow, MovingWindow, LeakyBucket])
async def test_each_obeys_the_librarys_verbs(strategy: type[theirs.RateLimiter]) -> None:
    limiter = strategy(MemoryStorage())
    assert await limiter.test(TWO, "ann")
    assert [await limiter.hit(TWO, "ann") for _ in range(3)] == [True, True, False]
    assert not await limiter.test(TWO, "ann")
    stats = await limiter.get_window_stats(TWO, "ann")
    assert stats.remaining == 0
    assert time.time() < stats.reset_time <= time.time() + 61
    assert await limiter.hit(TWO, "bob")


@pytest.mark.parametrize("strategy", [theirs.FixedWindowRateLimiter, theirs.MovingWindowRateLimiter])
async def test_the_librarys_strategies_work_on_our_storage(strategy: type[theirs.RateLimiter]) -> None:
    storage = MemoryStorage()
    limiter = strategy(storage)
    assert [await limiter.hit(TWO, "ann") for _ in range(3)] == [True, True, False]
    stats = await limiter.get_window_stats(TWO, "ann")
    assert stats.remaining == 0
    assert stats.reset_time == pytest.approx(time.time() + 60, abs=5)
    await limiter.clear(TWO, "ann")
    assert await limiter.hit(TWO, "ann")
    assert await storage.check()
    assert await storage.reset() == 1


def test_the_library_knows_ours_by_name() -> None:
    known = {name: kind for name, kind in theirs.STRATEGIES.items() if name.startswith("llmgate-")}
    assert known == {
        "llmgate-fixed-window": FixedWindow,
        "llmgate-moving-window": MovingWindow,
        "llmgate-leaky-bucket": LeakyBucket,
    }


def test_a_storage_without_moving_windows_is_told_at_once() -> None:
    class OnlyCounts(MemoryStorage):
        pass

    class Counts(Storage):
        base_exceptions = ValueError
        incr = get = get_expiry = check = reset = clear = TheirStorage.reset

    with pytest.raises(ValueError, match="Counts keeps no moving windows"):
        MovingWindow(Counts())


async def test_what_a_storage_raises_as_its_own_means_that_it_is_away() -> None:
    class Gone(TheirStorage):
        async def get(self, key: str) -> int:
            raise ValueError("gone")

    with pytest.raises(StoreError, match="gone"):
        await ForeignWindows(Gone()).peek("a")


async def test_keys_fit_whatever_a_storage_takes() -> None:
    """memcached takes 250 bytes and no spaces, and names of routes have both."""

    class Sees(TheirStorage):
        async def get(self, key: str) -> int:
            seen.append(key)
            return 0

    seen: list[str] = []
    windows = ForeignWindows(Sees(), prefix="my gate")
    for key in ("plain", "a route/key/1", "é", "x" * 300):
        await windows.peek(key)
    assert all(len(key) < 250 and key.isascii() and " " not in key for key in seen)
    assert len(set(seen)) == 4
    assert await ForeignWindows(Sees()).peek("plain") == (0, 0.0)
    assert seen[-1] == "llmgate:plain"


def test_items_are_told_apart_by_all_that_they_are() -> None:
    keys = {
        WindowItem(amount, seconds, name, "requests", "key").key_for("7")
        for amount in (1, 2)
        for seconds in (60, 61)
        for name in ("", "chat")
    }
    assert len(keys) == 8
    assert WindowItem(5, 60, "chat").key_for("7") == "llmgate/chat/5/60/7"

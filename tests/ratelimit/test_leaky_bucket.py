"""Leaky buckets, in memory and in Redis: what fits, what waits, and for how long."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis_server import REDIS, no_redis
from stores import Clock

from llmgate.errors import StoreError, Unavailable
from llmgate.ratelimit.leaky_bucket import Bucket, Buckets, LeakyBucket
from llmgate.ratelimit.memory import MemoryStorage
from llmgate.ratelimit.store import open_limits_store

SLOW = Bucket(capacity=1000, leak=0.001)
"""So slow that what leaks during a test does not count."""


@pytest.fixture(params=["memory", "redis"])
async def buckets(request: pytest.FixtureRequest, prefix: str) -> AsyncIterator[Buckets]:
    if request.param == "memory":
        yield LeakyBucket(MemoryStorage())
        return
    pytest.importorskip("hiredis")
    async with open_limits_store(REDIS, prefix=f"{prefix}:", timeout=30) as store:
        try:
            await store.windows.peek("anything")
        except StoreError as error:
            no_redis(error)
        yield store.buckets


async def test_tokens_fill_the_bucket_until_no_more_fit(buckets: Buckets) -> None:
    first = await buckets.pour("a", 600, SLOW)
    assert first.fits
    assert first.tokens == pytest.approx(600, abs=1)
    second = await buckets.pour("a", 600, SLOW)
    assert not second.fits
    assert second.tokens == pytest.approx(600, abs=1)
    assert (await buckets.pour("a", 400, SLOW)).fits


async def test_what_has_to_wait_is_told_when_it_will_fit(buckets: Buckets) -> None:
    """200 tokens too much, at 0.001 a second."""
    await buckets.pour("a", 1000, SLOW)
    assert (await buckets.pour("a", 200, SLOW)).wait == pytest.approx(200_000, rel=0.01)


async def test_buckets_of_other_names_are_others(buckets: Buckets) -> None:
    await buckets.pour("a", 1000, SLOW)
    assert (await buckets.pour("b", 1000, SLOW)).fits


async def test_what_was_poured_for_nothing_can_be_taken_out(buckets: Buckets) -> None:
    await buckets.pour("a", 1000, SLOW)
    await buckets.give_back("a", 300, SLOW)
    assert not (await buckets.pour("a", 301, SLOW)).fits
    assert (await buckets.pour("a", 300, SLOW)).fits


async def test_giving_back_never_leaves_less_than_nothing(buckets: Buckets) -> None:
    await buckets.give_back("a", 300, SLOW)
    assert not (await buckets.pour("a", 1000, SLOW)).tokens > 1000
    assert not (await buckets.pour("a", 1, SLOW)).fits


async def test_more_than_the_bucket_goes_when_it_is_empty_and_overfills_it(buckets: Buckets) -> None:
    assert (await buckets.pour("a", 5000, SLOW)).tokens == pytest.approx(5000, abs=1)
    refused = await buckets.pour("a", 5000, SLOW)
    assert not refused.fits
    assert refused.wait == pytest.approx(5_000_000, rel=0.01)  # until it is empty


async def test_of_many_at_once_only_as_many_fit_as_there_is_room_for(buckets: Buckets) -> None:
    levels = await asyncio.gather(*(buckets.pour("a", 100, SLOW) for _ in range(50)))
    assert sum(level.fits for level in levels) == 10


async def test_it_leaks_at_its_rate() -> None:
    clock = Clock(5.0)
    buckets = LeakyBucket(MemoryStorage(timer=clock))
    bucket = Bucket(capacity=100, leak=2.0)
    await buckets.pour("a", 100, bucket)
    wait = (await buckets.pour("a", 30, bucket)).wait
    assert wait == 15.0
    clock.pass_by(wait)
    assert (await buckets.pour("a", 30, bucket)).fits


async def test_buckets_that_have_run_out_take_no_memory() -> None:
    clock = Clock()
    storage = MemoryStorage(timer=clock)
    buckets = LeakyBucket(storage)
    for number in range(1000):
        await buckets.pour(str(number), 1, Bucket(10, 1.0))
    clock.pass_by(100)
    await buckets.pour("last", 1, Bucket(10, 1.0))
    assert len(storage) == 1


@given(st.lists(st.tuples(st.integers(1, 150), st.floats(0, 30)), max_size=40))
def test_no_more_gets_through_than_the_bucket_and_its_leak_allow(asked: list[tuple[int, float]]) -> None:
    """And what was told to wait fits after that wait."""
    clock, bucket = Clock(0.0), Bucket(capacity=100, leak=3.0)
    buckets = LeakyBucket(MemoryStorage(timer=clock))

    async def run() -> None:
        through = 0
        for tokens, pause in asked:
            clock.pass_by(pause)
            level = await buckets.pour("a", tokens, bucket)
            if level.fits:
                through += tokens
                largest = max(bucket.capacity, *(tokens for tokens, _ in asked))
                assert through <= largest + bucket.leak * clock.now + 1e-6
            else:
                clock.pass_by(level.wait + 1e-6)
                assert (await buckets.pour("a", tokens, bucket)).fits
                through += tokens

    asyncio.run(run())


@pytest.mark.parametrize("fail_open", [False, True])
async def test_a_redis_that_is_away_refuses_or_lets_through_as_the_operator_chose(fail_open: bool) -> None:
    pytest.importorskip("hiredis")
    async with open_limits_store("redis://127.0.0.1:1/0", fail_open=fail_open) as store:
        if fail_open:
            assert (await store.buckets.pour("a", 1, SLOW)).fits
        else:
            with pytest.raises(Unavailable):
                await store.buckets.pour("a", 1, SLOW)

"""Counting in the memory of one process."""

import pytest
from limits.aio.storage import MemoryStorage
from stores import Clock

from llmgate.errors import StoreError
from llmgate.ratelimit.windows import SWEEP_EVERY, LimitsWindows, LocalSlots, LocalWindows, Window


async def test_a_window_opens_with_its_first_count_and_closes_in_time() -> None:
    clock = Clock(100.0)
    windows = LocalWindows(clock=clock)
    assert [await windows.count("a", 10), await windows.count("a", 10, 5)] == [Window(1, 110.0), (6, 110.0)]
    clock.pass_by(9.9)
    assert await windows.look("a") == (6, 110.0)
    clock.pass_by(0.1)
    assert await windows.look("a") == (0, 110.0)
    assert await windows.count("a", 10) == (1, 120.0)


async def test_a_moving_window_holds_what_happened_lately() -> None:
    clock = Clock(100.0)
    windows = LocalWindows(clock=clock)
    assert await windows.enter("a", 2, 10) == (True, (1, 110.0))
    clock.pass_by(5)
    assert await windows.enter("a", 2, 10) == (True, (2, 110.0))
    assert await windows.enter("a", 2, 10) == (False, (2, 110.0))
    clock.pass_by(5.5)
    assert await windows.enter("a", 2, 10) == (True, (2, 115.0))


async def test_what_is_over_does_not_stay_in_memory() -> None:
    clock = Clock(100.0)
    windows = LocalWindows(clock=clock)
    for number in range(100):
        await windows.count(f"fixed{number}", 10)
        await windows.enter(f"moving{number}", 1, 10)
    clock.pass_by(SWEEP_EVERY)
    await windows.count("new", 10)
    assert len(windows) == 1


async def test_a_storage_of_the_limits_library_will_do() -> None:
    windows = LimitsWindows(MemoryStorage())
    first = await windows.count("a", 60)
    assert [first.used, (await windows.count("a", 60, 4)).used] == [1, 5]
    assert await windows.look("a") == (5, first.reset)
    assert [await windows.enter("b", 1, 60) for _ in range(2)] == [
        (True, (1, pytest.approx(first.reset, abs=5))),
        (False, (1, pytest.approx(first.reset, abs=5))),
    ]


async def test_what_a_storage_raises_as_its_own_means_that_it_is_away() -> None:
    class Gone(MemoryStorage):
        async def get(self, key: str) -> int:
            raise ValueError("gone")

    with pytest.raises(StoreError, match="gone"):
        await LimitsWindows(Gone()).look("a")


async def test_slots_are_counted_by_name_and_none_is_kept() -> None:
    slots = LocalSlots()
    assert [await slots.acquire("a", 2) for _ in range(3)] == [True, True, False]
    assert await slots.acquire("b", 1)
    await slots.release("a")
    assert await slots.acquire("a", 2)
    for name in ("a", "a", "b"):
        await slots.release(name)
    assert slots.taken == 0

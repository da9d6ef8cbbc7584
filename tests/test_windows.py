"""Counting in the memory of one process."""

import inspect

from limits.aio.storage import MovingWindowSupport, Storage
from stores import Clock

from llmgate.windows import SWEEP_EVERY, LocalSlots, LocalWindows


async def test_a_window_opens_with_its_first_count_and_closes_in_time() -> None:
    clock = Clock(100.0)
    windows = LocalWindows(clock=clock)
    assert [await windows.incr("a", 10), await windows.incr("a", 10, amount=5)] == [1, 6]
    clock.pass_by(9.9)
    assert (await windows.get("a"), await windows.get_expiry("a")) == (6, 110.0)
    clock.pass_by(0.1)
    assert (await windows.get("a"), await windows.get_expiry("a")) == (0, 110.0)
    assert await windows.incr("a", 10) == 1


async def test_a_moving_window_holds_what_happened_lately() -> None:
    clock = Clock(100.0)
    windows = LocalWindows(clock=clock)
    assert await windows.acquire_entry("a", 2, 10)
    clock.pass_by(5)
    assert await windows.acquire_entry("a", 2, 10)
    assert not await windows.acquire_entry("a", 2, 10)
    assert await windows.get_moving_window("a", 2, 10) == (100.0, 2)
    clock.pass_by(5.5)
    assert await windows.get_moving_window("a", 2, 10) == (105.0, 1)


async def test_what_is_over_does_not_stay_in_memory() -> None:
    clock = Clock(100.0)
    windows = LocalWindows(clock=clock)
    for number in range(100):
        await windows.incr(f"fixed{number}", 10)
        await windows.acquire_entry(f"moving{number}", 1, 10)
    await windows.get_moving_window("moving1", 1, 10)
    clock.pass_by(SWEEP_EVERY)
    await windows.get_moving_window("moving1", 1, 10)
    await windows.incr("new", 10)
    assert await windows.reset() == 1


async def test_a_key_can_be_forgotten() -> None:
    windows = LocalWindows()
    await windows.incr("a", 10)
    await windows.acquire_entry("a", 1, 10)
    await windows.clear("a")
    assert (await windows.get("a"), await windows.acquire_entry("a", 1, 10)) == (0, True)
    assert await windows.check()


async def test_slots_are_counted_by_name_and_none_is_kept() -> None:
    slots = LocalSlots()
    assert [await slots.acquire("a", 2) for _ in range(3)] == [True, True, False]
    assert await slots.acquire("b", 1)
    await slots.release("a")
    assert await slots.acquire("a", 2)
    for name in ("a", "a", "b"):
        await slots.release(name)
    assert slots.taken == 0


def test_it_is_a_storage_as_the_library_knows_it() -> None:
    """Every method that the library declares is there with its own signature."""
    for kind in (Storage, MovingWindowSupport):
        for name in kind.__abstractmethods__:
            if name != "base_exceptions":
                wanted = list(inspect.signature(getattr(kind, name)).parameters)
                assert list(inspect.signature(getattr(LocalWindows, name)).parameters) == wanted

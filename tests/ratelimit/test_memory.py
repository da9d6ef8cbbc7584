"""Counting in the memory of one process."""

from stores import Clock

from llmgate.ratelimit.memory import SWEEP_INTERVAL_S, LocalSlots, MemoryStorage


async def test_a_window_opens_with_its_first_count_and_closes_in_time() -> None:
    clock = Clock(100.0)
    windows = MemoryStorage(timer=clock)
    assert [await windows.count("a", 10), await windows.count("a", 10, 5)] == [(1, 10), (6, 10)]
    clock.pass_by(9.75)
    assert await windows.peek("a") == (6, 0.25)
    clock.pass_by(0.25)
    assert await windows.peek("a") == (0, 0.0)
    assert await windows.count("a", 10) == (1, 10)


async def test_a_moving_window_holds_what_happened_lately() -> None:
    clock = Clock(100.0)
    windows = MemoryStorage(timer=clock)
    assert await windows.enter("a", 2, 10) == (True, (1, 10.0))
    clock.pass_by(5)
    assert await windows.enter("a", 2, 10) == (True, (2, 5.0))
    assert await windows.enter("a", 2, 10) == (False, (2, 5.0))
    clock.pass_by(5.5)
    assert await windows.enter("a", 2, 10) == (True, (2, 4.5))


async def test_what_is_over_does_not_stay_in_memory() -> None:
    clock = Clock(100.0)
    windows = MemoryStorage(timer=clock)
    for number in range(100):
        await windows.count(f"fixed{number}", 10)
        await windows.enter(f"moving{number}", 1, 10)
        await windows.pour(f"bucket{number}", 1, 10, 1.0)
    clock.pass_by(SWEEP_INTERVAL_S)
    await windows.count("new", 10)
    assert len(windows) == 1


async def test_slots_are_counted_by_name_and_none_is_kept() -> None:
    slots = LocalSlots()
    assert [await slots.acquire("a", 2) for _ in range(3)] == [True, True, False]
    assert await slots.acquire("b", 1)
    slots.release("a")
    assert await slots.acquire("a", 2)
    for name in ("a", "a", "b"):
        slots.release(name)
    assert slots.taken == 0

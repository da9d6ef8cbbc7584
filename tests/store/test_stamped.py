"""What is read from the store once, until something in it changes."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from stores import Clock

from llmgate.store.stamped import RECHECK_S, Stamped


class Changes:
    """A change stamp that the test moves."""

    def __init__(self) -> None:
        self.stamp = 1

    def current(self) -> int:
        return self.stamp


class Reader:
    """Reads a number that grows, when it is let."""

    def __init__(self) -> None:
        self.number = 0
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def __call__(self) -> int:
        self.number += 1
        read = self.number
        await self.may_go_on.wait()
        return read


@pytest.fixture
def changes() -> Changes:
    return Changes()


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def clock() -> Clock:
    return Clock(1000.0)


@pytest.fixture
def stamped(changes: Changes, reader: Reader, clock: Clock) -> Stamped[int]:
    store: Any = SimpleNamespace(changes=changes, clock=clock)
    return Stamped(store, reader)


async def test_it_is_read_once_until_something_changes(stamped: Stamped[int], changes: Changes) -> None:
    assert [await stamped.get() for _ in range(3)] == [1, 1, 1]
    changes.stamp += 1
    assert [await stamped.get() for _ in range(2)] == [2, 2]


async def test_it_is_read_again_after_a_while_though_nobody_said_so(
    stamped: Stamped[int], clock: Clock
) -> None:
    await stamped.get()
    clock.pass_by(RECHECK_S - 1)
    assert await stamped.get() == 1
    clock.pass_by(1)
    assert await stamped.get() == 2


async def test_whoever_asks_while_it_is_read_waits_for_that(stamped: Stamped[int], reader: Reader) -> None:
    reader.may_go_on.clear()
    asking = [asyncio.create_task(stamped.get()) for _ in range(3)]
    await asyncio.sleep(0)
    reader.may_go_on.set()
    assert await asyncio.gather(*asking) == [1, 1, 1]


async def test_a_change_while_it_is_read_is_in_the_next_reading(
    stamped: Stamped[int], reader: Reader, changes: Changes
) -> None:
    """The reading may have been before it."""
    reader.may_go_on.clear()
    asking = asyncio.create_task(stamped.get())
    await asyncio.sleep(0)
    changes.stamp += 1
    reader.may_go_on.set()
    assert await asking == 1
    assert await stamped.get() == 2


async def test_a_reading_that_failed_is_tried_again(changes: Changes, clock: Clock) -> None:
    answers = iter([OSError("away"), 7])

    async def read() -> int:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    store: Any = SimpleNamespace(changes=changes, clock=clock)
    stamped = Stamped(store, read)
    with pytest.raises(OSError, match="away"):
        await stamped.get()
    assert await stamped.get() == 7


async def test_it_can_be_read_whatever_is_known(stamped: Stamped[int]) -> None:
    await stamped.get()
    assert await stamped.refresh() == 2
    assert await stamped.get() == 2
